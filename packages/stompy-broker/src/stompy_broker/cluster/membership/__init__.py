"""Who is in the cluster, who owns which group of queues, and who should.

All of it is pure: the time is handed in, what was heard is told, and what is to be done comes out
as values (`Decision`). So ten thousand schedules of brokers that die, sleep and are cut off can be
gone through in a test. `cluster.node` gives it a clock and a network.

``groups``
    Which group a queue belongs to.
``members``
    What each broker says about itself, and who is alive.
``placement``
    Who should own which group.
``group_state``
    One group as one broker sees it: a table of states.
``membership``
    Puts them together and decides.
``roster``
    What the cluster has agreed on for good: how queues are grouped, and the brokers' numbers.

**Only liveness depends on this.** Whoever takes a group over has to win one append to its log, and
whoever had it before is fenced by that. So every error here, and every message that is late, lost
or told twice, costs time or a needless change of owners, and no message of anybody.
"""
