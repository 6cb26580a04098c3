"""Several brokers, one set of queues: a log that all share, on NATS JetStream, and links.

JetStream is the broker's disk. A queue lives in one broker, its owner, as it does without a
cluster. What would be one transaction of the database is one record in a stream, which three
servers have synced to their disks before the receipts go out. Any other broker passes on what its
clients tell, over a link to the owner.

Where to begin reading:

``nats/``
    NATS, as much of it as a log needs: codec, client, JetStream, a server as a child of ours, and
    whether servers sync.
``log/``
    The log of a group of queues, what is alive in it, and the store on it.
``spans/``
    Transactions over groups of several owners, by one batch.
``membership/``, ``joining``, ``node``
    Who is there, which group a queue belongs to, who should own it, and who does.
``link/``, ``head_codec``
    Connections between brokers; the heads of messages as they go over them.
``remote/``
    Queues whose owner is another broker, and the owner's side of that.
``topics/``
    Topics, replies and durable subscriptions over several brokers.

`stompy_broker.cluster_service` puts them together.

What was decided, and why:

* **The fence is the expected place.** Each append names the place of the entry before it, of its
  subject; there is no clock and no lock in it. Error 10071 of JetStream means that the last entry
  is another one. Then it is looked at: if it is our own record, an earlier try had arrived
  although nobody said so; if not, we are fenced, for good. Error 10164 means that the server is at
  work on the subject, and is only *busy*, as everything else is: no leader, no room, no answer.
* **In doubt is not failed.** A record whose append was not answered is appended again, the very
  same bytes with the same expectation. So nothing may be added to it meanwhile, as the store on a
  disk does after a failure.
* **One record at a time for each log.** What the next one expects is known when this one is
  stored. Several in flight would need an expectation for the whole stream, and so one stream for
  each group; but groups that share a stream are synced together, and can commit together.
* **Everything that one needs to read a log is in each record's head**, because the head of the log
  is deleted some day: tenure, floor, the highest sequence, up to which message deliveries are
  doubtful.
* **Nothing is deleted before a record that names the new floor is stored.** Then who reads the log
  while it is trimmed, by an owner or by one that does not know yet that it is none any more, knows
  that it has missed nothing, and forgets what it has read from below the floor.
* **A gap is not passed over.** `take_over` refuses until an operator accepts what is missing; the
  tenure that begins then says so in the log. One server's damage is no gap while another has the
  entry.
* **Who would take a group over has read its log already,** and goes by what its owner says twice a
  second. It needs nobody's word for it: an append is refused to whoever has not read all.
* **An owner that keeps writing is not deposed.** Whoever takes over has to win one append. From an
  owner that is dead, stopped or cut off it does at once; one that is alive has to be asked to
  leave.
* **Messages in an orderly ended log were never delivered in secret.** `LoggedStore.leave` says so
  with a last record, so ``redelivered:false`` stays a promise over a restart.
* **Servers are not trusted to sync.** `check_sync` asks each server that keeps the log.
* **Two links for two brokers.** On each the one that opened it is the front, so who asks and who
  answers is never in question, and what holds up one direction does not hold up the other.
* **A link comes in where clients do.** There is no second port to open, and its TLS is the one
  that is there. Its first bytes are none that a client sends.
"""
