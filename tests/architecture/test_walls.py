"""Which module may import which: the floor plan, held by a test.

A module imports modules of lower floors only. Pure modules know no clock, socket, thread or event
loop. Monitor and broker meet on the wire and nowhere else.
"""

from __future__ import annotations

import ast
import subprocess
import sys
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
        {"callbacks", "errors", "forks", "limits", "display", "timeouts", "worker"},
        {"rows"},
        {
            "dialect",
            "headers",
            "heads",
            "heartbeat",
            "lifecycle",
            "retry",
            "transport",
            "transport.address",
            "transport.layers",
            "admin.parts",
        },
        {"admin.rows"},
        {"admin.snapshot"},
        {"admin.command"},
        {
            "admin",
            "codec",
            "confirmations",
            "health",
            "transport.tls",
            "transport.websocket",
        },
        {"frame", "transport.failover"},
        {"addressees", "protocol.states", "spill", "subscriptions", "verbs"},
        {"backlog"},
        {"trace"},
        {"arguments", "wanted"},
        {"holding"},
        {"message"},
        {"transactions"},
        {"protocol.base"},
        {"protocol.client", "protocol.server"},
        {"protocol"},
        {"standing", "transport.lookup", "inbox"},
        {"transport.blocking", "transport.streams"},
        {"dial"},
        {"link", "mail"},
        {"confirming", "lifeline"},
        {"replying"},
        {"consuming", "requesting", "sending", "supervisor"},
        {"subscribing"},
        {"receiving", "transaction"},
        {"client"},
        {"aio.iteration", "aio.opening", "aio.signal"},
        {"aio.confirmation", "aio.inbox", "aio.link", "aio.message"},
        {"aio.replying"},
        {"aio.dial", "aio.mailroom", "aio.requests"},
        {"aio.restoring"},
        {"aio.session"},
        {"aio.sending", "aio.subscription"},
        {"aio.subscribing"},
        {"aio.transaction"},
        {"aio.client"},
        {"aio"},
        {"stompy", "cli.console", "cli.histogram", "cli.output"},
        {"cli.options", "cli.plan"},
        {"cli.load", "cli.messages", "cli.ping"},
        {"cli.bench"},
        {"cli"},
        {"__main__"},
    ],
    "stompy_broker": [
        {"complaints", "posix", "section", "version", "seldom"},
        {"clock", "destination", "message", "auth", "session", "session.holdings"},
        {
            "routing",
            "routing.caps",
            "routing.consumer",
            "routing.matcher",
            "routing.pressure",
            "routing.rejection",
            "routing.stats",
            "routing.turn",
        },
        {"store", "policy", "access", "users", "turnstile", "admin", "admin.events"},
        {"compat", "store.base", "cli_users", "routing.setup", "login"},
        {
            "store.memory",
            "store.schema",
            "store.batch",
            "routing.chores",
            "routing.departing",
            "routing.durable",
            "routing.line",
        },
        {
            "store.directory",
            "store.room",
            "store.rows",
            "routing.expiry",
            "routing.marks",
            "routing.reading",
        },
        {"routing.accounts"},
        {"routing.oversight"},
        {"routing.leaving"},
        {"routing.queue"},
        {"store.tables"},
        {
            "store.sqlite",
            "routing.topics",
            "routing.graves",
            "routing.recovery",
            "routing.retirement",
        },
        {"store.compaction", "store.inspection"},
        {"routing.router", "config"},
        {
            "routing.intake",
            "ration",
            "session.outlet",
            "session.receipts",
            "session.recent",
            "session.permit",
            "session.headers",
            "session.tenants",
        },
        {"session.subscription", "session.observation"},
        {"session.deliveries", "session.transactions", "session.lobby"},
        {"session.console", "session.hold", "session.sources", "session.temporary"},
        {"session.settling", "session.subscriptions"},
        {"session.send"},
        {"session.session"},
        {"admin.clearance", "admin.process", "admin.rates", "admin.work"},
        {"admin.browsing", "admin.queues"},
        {"admin.groups"},
        {"admin.clients"},
        {"admin.census"},
        {"admin.streams"},
        {"admin.publisher"},
        {"admin.commands"},
        {"admin.queue_commands"},
        {"admin.message_commands", "admin.client_commands"},
        {"admin.desk"},
        {
            "wire",
            "wire.acceptor",
            "wire.intake",
            "wire.places",
            "wire.proxy",
            "wire.tls",
            "wire.turns",
            "wire.websocket",
        },
        {"wire.connection"},
        {"wire.layered", "wire.listener"},
        {"broker"},
        {"embed", "embed.inspect"},
        {"embed.thread", "embed.process", "embed.notebook"},
        {"stompy_broker", "embed.testing"},
        {"embed.pytest_plugin"},
        {"cli"},
        {"__main__"},
    ],
    "stompy_monitor": [
        {"stompy_monitor", "safe", "drawing", "expression", "history", "themes", "source"},
        {"formats", "table", "bodies"},
        {"alarms", "actions"},
        {"columns", "problems"},
        {"model"},
        {"views"},
        {"listing", "details", "feed", "recording", "configuration", "vocabulary"},
        {"replay", "report", "conditions"},
        {"headless"},
        {"session"},
        {"widgets", "widgets.bars"},
        {"widgets.charts", "widgets.row_table"},
        {
            *("screens", "screens.dialogs", "screens.help", "screens.compositor"),
            "screens.palette",
        },
        {"screens.acting"},
        {"screens.base"},
        {"screens.tables", "screens.overview"},
        {"screens.detail", "screens.messages"},
        {"app", "web"},
        {"cli"},
        {"__main__"},
    ],
}

IMPURE_LIBRARIES = {"asyncio", "selectors", "socket", "ssl", "threading", "time"}
IMPURE = {
    "stompy": {
        "transport.blocking",
        "transport.lookup",
        "transport.streams",
        "transport.tls",
        "inbox",
        "worker",
        "dial",
        "link",
        "mail",
        "lifeline",
        "confirming",
        "consuming",
        "requesting",
        "supervisor",
        "sending",
        "receiving",
        "client",
        "aio",
        "aio.client",
        "aio.dial",
        "aio.link",
        "aio.session",
        "aio.signal",
        "aio.requests",
        "aio.restoring",
        "aio.subscription",
        "cli.console",
        "cli.options",
        "cli.load",
        "cli.output",
        "cli.messages",
        "cli.ping",
        "cli.bench",
        "cli",
        "__main__",
        "stompy",
    },
    "stompy_broker": {
        "admin.process",
        "store.directory",
        "store.sqlite",
        "wire.acceptor",
        "wire.connection",
        "wire.layered",
        "wire.listener",
        "wire.tls",
        "broker",
        "embed.inspect",
        "embed.thread",
        "embed.testing",
        "embed.process",
        "embed.notebook",
        "embed.pytest_plugin",
        "cli",
        "__main__",
        "stompy_broker",
    },
    "stompy_monitor": {
        "feed",
        "replay",
        "headless",
        "screens.messages",
        "app",
        "web",
        "cli",
        "__main__",
        "stompy_monitor",
    },
}


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


@pytest.mark.parametrize("package", SOURCES)
def test_every_module_has_a_floor(package: str) -> None:
    planned = [name for floor in FLOORS[package] for name in floor]
    assert sorted(planned) == sorted(modules(package))


@pytest.mark.parametrize("package", SOURCES)
def test_no_arrow_runs_upward(package: str) -> None:
    floor_of = {name: n for n, floor in enumerate(FLOORS[package]) for name in floor}
    for name, file in modules(package).items():
        for imported in imports(file):
            inside = imported.removeprefix(f"{package}.")
            if imported != package and inside == imported:
                continue
            assert floor_of[inside] < floor_of[name], f"{name} imports {inside}"


@pytest.mark.parametrize("package", SOURCES)
def test_pure_modules_are_pure(package: str) -> None:
    for name, file in modules(package).items():
        if name not in IMPURE[package]:
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


EXTRAS = {"transport.websocket": {"websockets"}}
"""Modules of the core that need an extra, and are imported only by who uses it."""


def test_the_core_needs_nothing_but_the_standard_library() -> None:
    for name, file in modules("stompy").items():
        allowed = set(sys.stdlib_module_names) | {"stompy"} | EXTRAS.get(name, set())
        assert {top.partition(".")[0] for top in imports(file)} <= allowed, name


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "import stompy",
            {"asyncio", "argparse", "stompy.display", "stompy_broker", "websockets"},
        ),
        ("import stompy_broker", {"pydantic", "stompy", "asyncio"}),
        (
            "from stompy_broker import *",
            {"click", "stompy.display", "IPython", "pytest", "stompy_monitor"},
        ),
    ],
)
def test_what_an_import_really_loads(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not absent & set(loaded)
