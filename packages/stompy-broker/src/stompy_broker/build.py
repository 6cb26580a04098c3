"""Which modules a compiled wheel has in compiled form, and whether they run in it.

`stompy.build` says what may stand in such a list. Left out are, beside what costs little:

* ``session.context``, ``routing.group``, ``routing.factory`` and ``store.memory``, whose classes
  have heirs outside;
* ``wire.connection``, whose base is asyncio's;
* ``timers``: C has no attribute ``__real``, into which mypyc turns ``_real``.
"""

from __future__ import annotations

import stompy.build
from stompy.build import Compiled

MODULES = (
    "stompy_broker.dedup_headers",
    "stompy_broker.destinations.names",
    "stompy_broker.group_headers",
    "stompy_broker.header_text",
    "stompy_broker.message",
    "stompy_broker.routing.accounts",
    "stompy_broker.routing.admission",
    "stompy_broker.routing.batching",
    "stompy_broker.routing.charged_accounts",
    "stompy_broker.routing.choices",
    "stompy_broker.routing.consumer",
    "stompy_broker.routing.consumer_line",
    "stompy_broker.routing.dealer",
    "stompy_broker.routing.delivery_rate",
    "stompy_broker.routing.delivery_times",
    "stompy_broker.routing.duplicate_check",
    "stompy_broker.routing.duplicate_ids",
    "stompy_broker.routing.fair_rounds",
    "stompy_broker.routing.flow_control",
    "stompy_broker.routing.group_delivery",
    "stompy_broker.routing.group_pace",
    "stompy_broker.routing.group_register",
    "stompy_broker.routing.group_table",
    "stompy_broker.routing.history_accounts",
    "stompy_broker.routing.history_log",
    "stompy_broker.routing.interface",
    "stompy_broker.routing.last_values",
    "stompy_broker.routing.match_line",
    "stompy_broker.routing.message_group",
    "stompy_broker.routing.message_source",
    "stompy_broker.routing.ordered_messages",
    "stompy_broker.routing.paging",
    "stompy_broker.routing.parking",
    "stompy_broker.routing.queue",
    "stompy_broker.routing.reader_line",
    "stompy_broker.routing.reader_message",
    "stompy_broker.routing.reader_owner",
    "stompy_broker.routing.reader_progress",
    "stompy_broker.routing.ready_list",
    "stompy_broker.routing.router",
    "stompy_broker.routing.sequences",
    "stompy_broker.routing.settlement_record",
    "stompy_broker.routing.stream_choice",
    "stompy_broker.routing.stream_queue",
    "stompy_broker.routing.stream_reader",
    "stompy_broker.routing.stream_readers",
    "stompy_broker.routing.stream_source",
    "stompy_broker.routing.token_bucket",
    "stompy_broker.routing.topics",
    "stompy_broker.routing.turn_order",
    "stompy_broker.routing.unique_message",
    "stompy_broker.routing.unique_publication",
    "stompy_broker.routing.user_storage",
    "stompy_broker.routing.watermarks",
    "stompy_broker.session.acks",
    "stompy_broker.session.bounded_dict",
    "stompy_broker.session.header_values",
    "stompy_broker.session.limited_subscription",
    "stompy_broker.session.output",
    "stompy_broker.session.paced_subscription",
    "stompy_broker.session.permissions",
    "stompy_broker.session.producer_flow_control",
    "stompy_broker.session.receipts",
    "stompy_broker.session.send",
    "stompy_broker.session.send_routes",
    "stompy_broker.session.session",
    "stompy_broker.session.subscription",
    "stompy_broker.store.batch",
    "stompy_broker.store.entry_log",
    "stompy_broker.store.interface",
    "stompy_broker.store.log_changes",
    "stompy_broker.store.sqlite",
    "stompy_broker.store.sqlite_logs",
    "stompy_broker.wire.websocket_output",
)


def compiled() -> Compiled:
    """Tell whether the modules of this package and of `stompy` run compiled."""
    return stompy.build.compiled((*stompy.build.MODULES, *MODULES))
