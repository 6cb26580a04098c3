"""Topics, replies and durable subscriptions of a cluster: what brokers tell each other of them.

Everything about what one broker has stands on the links that others have opened to it: it is the
link by which they send it something. So what a broker knows of another lives as long as the link
that the messages go by, and nothing has to be put in order between two links.

``topic_codec``
    The messages, as values and as bytes.
``interest``
    Which topics this broker's clients have subscribed to, and who knows that.
``peer_topics``
    What stands for another broker among the subscriptions of a topic, and sends it messages.
``owned_directory``, ``group_directory``
    What is in the groups that are here, told to others; what others told of theirs.
``durable_requests``
    What the owner of a group is asked to do with a durable subscription.
``remote_replies``
    Replies to temporary queues at other brokers.
``exchange``
    Puts it together; hears of links, members and owners.
"""
