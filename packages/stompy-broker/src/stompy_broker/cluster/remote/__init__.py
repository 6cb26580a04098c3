"""Queues whose owner is another broker, and what brokers tell one another about them.

Words: a *group* is a set of queues with one owner and one log. The *owner* is the broker that has
it. A *front* is a broker whose client speaks to a queue that is owned elsewhere; a *guest* is what
stands for it at the owner. A *batch* is everything that one turn of the event loop told one group.

``verbs``, ``values``, ``tables``, ``link_batch``, ``events``
    What is told in both directions, as values and as bytes.
``front_batch``, ``front``, ``away_store``, ``remote_queue``
    The front: a batch for each turn, kept until it is safe.
``guest_consumer``, ``guest``, ``guests``
    The owner: carries batches out, knows repeats, leaves with clients what they hold.
``placed_queue``, ``places``
    A queue that stays when its group moves, and the groups of one broker.

What was decided, and why:

* **A batch is one turn at the front and one turn at the owner.** So it is one change of the store,
  and a transaction over a link is as atomic as one without.
* **A batch is told again until it is safe, and carried out once.** Its number is in the log with
  its changes.
* **A message keeps its number over the end of its owner**, even if it was not in the log: the
  fronts know from which batch the messages come that their clients hold. So an ACK that was
  confirmed is never followed by the same message under another number.
* **Everything between two brokers counts for one visit.** Whoever begins to speak anew says all
  that matters, and nothing that was said before is waited for.
"""
