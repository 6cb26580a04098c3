"""Transactions over groups of several owners: one batch in the log, with a record for each group.

Words: the *coordinator* is the broker at which the client is. A *part* is what the transaction
tells the queues of one group, a *share* is a part at the owner of its group.

1. The coordinator asks the owners for their records, one group after the other in the order of
   their numbers, so that two coordinators do not wait for each other.
2. An owner closes the record that it gathers, with the part in it, and offers it. Nothing has
   happened in its queues so far, but for messages that the part settles: nobody else has them.
3. The coordinator appends all records as one batch, in which each expects the place of the one
   before it. The servers store all of them, or none.
4. It tells the owners. Each carries its part out in its queues, and goes on.

**No doubt outlives a crash.** An owner that is told nothing for 1.5 seconds, or has lost its link
to the coordinator, appends the same record without the part, and with the same expectation. That
makes the batch fail for ever, or shows that it is in. The coordinator learns from the log, too.
"""
