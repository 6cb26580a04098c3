"""What others know of a queue: ten verbs, and what identifies it.

Three things hold that together. No module but the factory knows the class of a queue. Whatever is
called a queue outside of its parts, or is annotated as one, is asked for members of its protocol
only. And the queue that `tests.support.delaying` puts in its place has no other ones, so that
sessions, receipts, transactions and commands that run on it cannot have used any.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.delaying import DelayingQueue

from stompy_broker.routing.interface import Queue, RestorableQueue

SOURCES = Path(__file__).parents[2] / "packages/stompy-broker/src/stompy_broker"
MOST_VERBS = 10

OWN = {
    f"routing/{name}.py"
    for name in (
        "queue",
        "retained_queue",
        "schedule_queue",
        "standing_queue",
        "stream_queue",
        "factory",
    )
}
"""Who may know what is behind the interface: the queue itself, and who makes it."""
PARTS = {
    "absence",
    "accounts",
    "bookkeeping",
    "browse_walk",
    "browsing",
    "charged_accounts",
    "consumer_line",
    "counts",
    "dealer",
    "delivery_rate",
    "discards",
    "expiry",
    "group_balance",
    "group_delivery",
    "group_report",
    "group_table",
    "history_accounts",
    "length_limits",
    "match_line",
    "moving",
    "named_schedules",
    "ordered_messages",
    "paging",
    "parking",
    "queue",
    "queue_parts",
    "ready_list",
    "redelivery",
    "replacement",
    "retained_queue",
    "returns",
    "schedule_departures",
    "schedule_queue",
    "schedule_walk",
    "standing_queue",
    "standing_readers",
    "standing_source",
    "stream_browsing",
    "stream_queue",
    "stream_readers",
    "stream_retention",
    "stream_source",
    "stream_times",
    "turn_order",
    "unmatched_watch",
    "waiting_bodies",
}
"""Modules of routing that a local queue is made of."""


def members(protocol: type) -> set[str]:
    """What a protocol declares, inherited members included."""
    named = {name for one in protocol.__mro__[:-1] for name in vars(one)}
    return {name for name in named if not name.startswith("_")}


ALLOWED = members(Queue)
NAMES = {"removeprefix", "startswith"}
"""Of texts, because the name of a queue is called a queue as well."""


def modules() -> dict[str, ast.Module]:
    found = {
        str(file.relative_to(SOURCES)): ast.parse(file.read_text(encoding="utf-8"))
        for file in sorted(SOURCES.rglob("*.py"))
    }
    assert len(found) > 80
    return found


def test_it_has_ten_verbs() -> None:
    verbs = {name for name in ALLOWED if callable(vars(Queue)[name])}
    assert len(verbs) <= MOST_VERBS
    assert len(ALLOWED - verbs) <= 14


def test_only_the_factory_knows_of_what_class_a_queue_is() -> None:
    for path, tree in modules().items():
        if path.startswith("routing/") and path.removesuffix(".py").rpartition("/")[2] in PARTS:
            continue
        if path in OWN:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                parts = {f"stompy_broker.routing.{name}" for name in PARTS}
                assert node.module not in parts, f"{path} imports {node.module}"
                names = {alias.name for alias in node.names}
                assert node.module != "stompy_broker.routing" or names.isdisjoint(PARTS), path
            elif isinstance(node, ast.Name | ast.Attribute | ast.Constant):
                said = getattr(node, "id", getattr(node, "attr", getattr(node, "value", "")))
                assert said != "LocalQueue", f"{path}:{node.lineno}"


def is_queue(annotation: ast.expr | None) -> bool:
    """Whether an annotation says that something is a queue, or may be."""
    if annotation is None:
        return False
    if isinstance(annotation, ast.BinOp):
        return is_queue(annotation.left) or is_queue(annotation.right)
    return isinstance(annotation, ast.Name) and annotation.id in ("Queue", "RestorableQueue")


def queues_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names in a function that stand for a queue."""
    args = function.args
    named = {arg.arg for arg in (*args.args, *args.kwonlyargs) if is_queue(arg.annotation)}
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign) and is_queue(node.annotation):
            named |= {node.target.id} if isinstance(node.target, ast.Name) else set()
    return named | {"queue", "backlog"}


def test_a_queue_is_asked_for_what_its_protocol_has() -> None:
    asked: dict[str, str] = {}
    for path, tree in modules().items():
        if path.startswith(("cli/", "store/", "security/", "destinations/")):
            continue  # rows and names of queues, but no queue
        if path.removesuffix(".py").rpartition("/")[2] in PARTS and path.startswith("routing/"):
            continue
        restores = path in ("routing/registry.py", "routing/recovery.py") or path.startswith(
            "cluster/remote/"
        )
        allowed = members(RestorableQueue) if restores else ALLOWED
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            names = queues_of(function)
            for node in ast.walk(function):
                if not isinstance(node, ast.Attribute):
                    continue
                owner = node.value
                named = isinstance(owner, ast.Name) and owner.id in names
                held = isinstance(owner, ast.Attribute) and owner.attr == "queue"
                if (named or held) and node.attr not in allowed | NAMES:
                    asked[f"{path}:{node.lineno}"] = node.attr
    assert asked == {}


def test_nobody_changes_what_a_queue_counts() -> None:
    for path, tree in modules().items():
        if path.startswith("routing/") and path.removesuffix(".py").rpartition("/")[2] in PARTS:
            continue
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AugAssign) else targets
            for target in targets:
                owner = target.value if isinstance(target, ast.Attribute) else None
                name = getattr(owner, "attr", getattr(owner, "id", ""))
                assert name != "queue", f"{path}:{node.lineno}"


def test_the_queue_in_its_place_has_nothing_else() -> None:
    own = {name for name in vars(DelayingQueue) if not name.startswith("_")}
    assert own == members(RestorableQueue)
