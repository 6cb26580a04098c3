"""The log of a group of queues: records in a stream, what is alive in it, and the store on it.

``log``, ``log_record``, ``changes``
    The interface of a log, three verbs wide, and the one on JetStream; a record as bytes; a group
    commit as bytes.
``index``, ``log_replay``, ``takeover``, ``standby``
    What is alive in a log and where; reading it back, and what is missing; how a broker becomes its
    owner; how it has read the log before.
``store``, ``bodies``, ``gathering``, ``writing``
    The store on a log, under the same suite of tests as the others; bodies that are in the log
    only; when a record begins; a record on its way.
``joint_commit``, ``shared_store``, ``stored_share``
    Several groups in one commit, of one owner or of several.

What was decided, and why, stands in `stompy_broker.cluster`.
"""
