"""Which folder may import which: the floor plan, held by a test.

A folder is a floor, and so is a module beside them. Its modules import those of lower floors, and
one another without a circle; folders on one floor do not know each other. Pure folders know no
clock, socket, thread or event loop. Monitor and broker meet on the wire and nowhere else.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "stompy": ROOT / "packages/stompy-core/src/stompy",
    "stompy_broker": ROOT / "packages/stompy-broker/src/stompy_broker",
    "stompy_monitor": ROOT / "packages/stompy-monitor/src/stompy_monitor",
}

FLOORS: dict[str, list[set[str]]] = {
    "stompy": [
        {"errors", "notebook", "build", "compiler", "as_written"},
        {"records", "data_table"},
        {"protocol"},
        {"session", "admin"},
        {"transport"},
        {"sql_query", "table_text", "ledger"},
        {"sync", "aio"},
        {"history_table"},
        {"broker_tables"},
        {"magic"},
        {"client", "frame", "codec", "dialect", "health", "heartbeat", "message", "subscriptions"},
        {"stompy"},
        {"cli"},
        {"__main__"},
    ],
    "stompy_broker": [
        {
            "build",
            "config_errors",
            "posix",
            "config_section",
            "version",
            "log_throttle",
            "event_loop",
            "rate_limit",
            "durations",
            "dedup_headers",
            "group_headers",
            "retain_headers",
            "header_text",
            "clock_waiters",
        },
        {"broker_headers"},
        {"timers", "message", "destinations"},
        {"selectors", "schedules"},
        {"events", "cluster_config"},
        {
            "security",
            "store",
            "foreign_headers",
            "http_config",
            "limits_config",
            "routing_config",
            "scheduler_config",
            "quota_config",
        },
        {"selector_reports"},
        {"routing"},
        {"cluster"},
        {"config"},
        {"memory_limit", "config_changes"},
        {"session"},
        {"admin"},
        {"wire"},
        {"cluster_secret"},
        {"cluster_settings"},
        {"cluster_checks"},
        {"config_checks", "store_reports"},
        {"cluster_view"},
        {"cluster_service"},
        {"reload", "time_source"},
        {"virtual_clock"},
        {"broker"},
        {"embed"},
        {"stompy_broker"},
        {"cli"},
        {"__main__"},
    ],
    "stompy_monitor": [
        {"stompy_monitor"},
        {"themes"},
        {"model"},
        {"actions"},
        {"tables"},
        {"sources", "config", "conditions"},
        {"report"},
        {"headless"},
        {"dashboard"},
        {"widgets"},
        {"screens"},
        {"app", "web"},
        {"modes"},
        {"cli"},
        {"__main__"},
    ],
}

IMPURE_LIBRARIES = {"asyncio", "selectors", "socket", "sqlite3", "ssl", "threading", "time"}
PURE = {
    "stompy": {"errors", "notebook", "records", "data_table", "protocol", "session", "admin"},
    "stompy_broker": {
        "events",
        "rate_limit",
        "timers",
        "message",
        "destinations",
        "selectors",
        "schedules",
        "routing",
        "session",
    },
    "stompy_monitor": {"model", "tables"},
}
PURE_MODULES = {
    "cluster.log.bodies",
    "cluster.log.changes",
    "cluster.head_codec",
    "cluster.log.index",
    "cluster.link.codec",
    "cluster.link.handshake",
    "cluster.link.settings",
    "cluster.log.log_record",
    "cluster.log.log_replay",
    "cluster.membership.group_state",
    "cluster.membership.groups",
    "cluster.membership.members",
    "cluster.membership.membership",
    "cluster.membership.placement",
    "cluster.membership.roster",
    "cluster.log.store",
    "cluster.node_status",
    "cluster.topics.acknowledgements",
    "cluster.topics.durable_requests",
    "cluster.topics.group_directory",
    "cluster.topics.interest",
    "cluster.topics.owned_directory",
    "cluster.topics.peer_topics",
    "cluster.topics.remote_replies",
    "cluster.topics.topic_codec",
    "cluster.nats.codec",
    "admin.metrics_text",
    "wire.http_request",
    "cluster.nats.server_list",
}
"""Those that are pure in a folder of which the rest is not."""


def modules(package: str) -> dict[str, Path]:
    """Every module by its name within the package; the package itself by its own name."""
    found = {}
    for file in SOURCES[package].rglob("*.py"):
        parts = list(file.relative_to(SOURCES[package]).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts) or package] = file
    return found


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            names.add(node.module)
    return names


def floor_of(package: str, module: str) -> int:
    """On which floor a module stands: the one of its folder, or its own."""
    room = module.partition(".")[0]
    floors = [n for n, floor in enumerate(FLOORS[package]) if room in floor]
    assert len(floors) == 1, f"{package}.{module} needs one floor"
    return floors[0]


def arrows(package: str) -> dict[str, set[str]]:
    """Every module, and which others of its package it imports."""
    inside = modules(package)
    found: dict[str, set[str]] = {}
    for name, file in inside.items():
        named = {one.removeprefix(f"{package}.") for one in imports(file)}
        found[name] = {one for one in named if one in inside and one != name}
    return found


@pytest.mark.parametrize("package", SOURCES)
def test_every_floor_has_modules(package: str) -> None:
    rooms = {name.partition(".")[0] for name in modules(package)}
    assert sorted(rooms) == sorted(room for floor in FLOORS[package] for room in floor)


@pytest.mark.parametrize("package", SOURCES)
def test_no_arrow_runs_upward(package: str) -> None:
    upward = set()
    for name, imported in arrows(package).items():
        for one in imported:
            same_room = name.partition(".")[0] == one.partition(".")[0]
            if not same_room and floor_of(package, one) >= floor_of(package, name):
                upward.add((name, one))
    assert upward == set()


@pytest.mark.parametrize("package", SOURCES)
def test_no_arrows_form_a_circle(package: str) -> None:
    TopologicalSorter(arrows(package)).prepare()


@pytest.mark.parametrize("package", SOURCES)
def test_pure_folders_are_pure(package: str) -> None:
    for name, file in modules(package).items():
        if name.partition(".")[0] in PURE[package] or name in PURE_MODULES:
            impure = {top.partition(".")[0] for top in imports(file)} & IMPURE_LIBRARIES
            assert not impure, f"{name} imports {impure}"


@pytest.mark.parametrize(
    ("package", "others"),
    [
        ("stompy", {"stompy_broker", "stompy_monitor"}),
        ("stompy_broker", {"stompy_monitor"}),
        ("stompy_monitor", {"stompy_broker"}),
    ],
)
def test_arrows_between_packages(package: str, others: set[str]) -> None:
    for name, file in modules(package).items():
        assert not {top.partition(".")[0] for top in imports(file)} & others, name


def test_only_what_is_shown_knows_textual() -> None:
    shown = {"themes", "app", "web", "cli"}
    for name, file in modules("stompy_monitor").items():
        if not name.startswith(("widgets", "screens")) and name not in shown:
            assert not {top.partition(".")[0] for top in imports(file)} & {"textual"}, name


EXTRAS = {
    "transport.websocket": {"websockets"},
    "compiler": {"mypy_extensions"},
    "data_table": {"duckdb", "pandas", "polars", "pyarrow"},
}
"""What modules of the core import beside it: for who has it, and for the compiler alone."""


def test_the_core_needs_nothing_but_the_standard_library() -> None:
    for name, file in modules("stompy").items():
        allowed = set(sys.stdlib_module_names) | {"stompy"} | EXTRAS.get(name, set())
        assert {top.partition(".")[0] for top in imports(file)} <= allowed, name


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "import stompy",
            {"asyncio", "argparse", "stompy.notebook", "stompy_broker", "websockets"},
        ),
        ("import stompy_broker", {"pydantic", "stompy", "asyncio"}),
        (
            "from stompy_broker import *",
            {"click", "stompy.notebook", "IPython", "pytest", "stompy_monitor"},
        ),
        # A broker that is no member of a cluster runs no line of it.
        ("import stompy_broker.cli.run, stompy_broker.broker", {"stompy_broker.cluster"}),
    ],
)
def test_what_an_import_really_loads(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not absent & set(loaded)
