"""The command ``stompy-broker``."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from stompy.errors import ProtocolError
from stompy_broker.broker import Broker, doubts, users_of
from stompy_broker.build import compiled
from stompy_broker.cli.users import user
from stompy_broker.config import BrokerConfig, ConfigError, load_config
from stompy_broker.destinations.names import Destination, parse_destination
from stompy_broker.destinations.policy import Policies
from stompy_broker.posix import resource
from stompy_broker.security.access import Access, Action
from stompy_broker.security.auth import ANONYMOUS, Principal, hash_password
from stompy_broker.store.base import StoreError
from stompy_broker.store.compaction import compact_directory
from stompy_broker.store.inspection import Exported, Inspection, Stats, inspected
from stompy_broker.version import __version__
from stompy_broker.wire.tls import Certificates

EXIT_CANNOT_START = 1
EXIT_USAGE = 2
EXIT_NOT_SOUND = 1

_EPILOG = """
\b
Exit status:
  0  stopped by SIGTERM or SIGINT, everything finished
  1  the address or the data directory cannot be used, or a second signal cut the
     stop short
  2  wrong usage or configuration; standard error names file, key and reason

\b
SIGHUP has it read certificates and the users file again.

\b
Examples:
  stompy-broker
  stompy-broker --host 0.0.0.0 --config broker.toml
  stompy-broker check broker.toml
  stompy-broker user add users.txt ann
  stompy-broker store stats data
"""

_STORE_EPILOG = """
\b
Exit status:
  0  everything is in order
  1  damage was found, or the directory is absent, in use, or cannot be read
  2  wrong usage
"""


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"stompy-broker, version {__version__} (compiled: {compiled()})")
        context.exit()


class _OptionsOrCommand(click.Group):
    """Runs the broker when no sub-command is named."""


@click.group(invoke_without_command=True, epilog=_EPILOG)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--host", help="Address to bind to.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="TCP port; 0 picks a free one.  [default: 61613]")
@click.option("--data", help="Directory of the message store.  [default: data]")
@click.option("--memory", is_flag=True, help="Keep messages in memory only.")
@click.option("--allow-anonymous", is_flag=True, help="Let clients in without login.")
@click.option(
    "--until-eof",
    is_flag=True,
    help="Stop when standard input ends, as it does with the program that started the broker.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to say on standard error.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, and whether it is compiled, and exit.",
)
@click.pass_context
def main(  # noqa: PLR0913, PLR0917 -- as many as there are options
    context: click.Context,
    config_file: Path | None,
    host: str | None,
    port: int | None,
    data: str | None,
    memory: bool,
    allow_anonymous: bool,
    until_eof: bool,
    log_level: str,
) -> None:
    """Run a STOMP broker.

    When it listens it prints one line to standard output that begins with "stompy-broker ready"
    and goes on with its URLs.
    """
    if context.invoked_subcommand is not None:
        return
    listen: dict[str, object] = {}
    if host is not None:
        listen["host"] = host
    if port is not None:
        listen["port"] = port
    overrides: dict[str, dict[str, object]] = {"listen": listen}
    if memory and data is not None:
        raise click.UsageError("--data and --memory exclude each other")
    if memory or data is not None:
        overrides["store"] = {"data": data or ""}
    if allow_anonymous:
        overrides["security"] = {"allow_anonymous": True}
    config = _load(config_file, overrides)
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    sys.exit(_run(config, until_eof))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--explain", metavar="DESTINATION", help="Print the policy of a destination, all of it."
)
@click.option(
    "--explain-access",
    nargs=2,
    metavar="USER DESTINATION",
    help="Print what a user may do with a destination, and which entry of the ACL says so.",
)
def check(file: Path, explain: str | None, explain_access: tuple[str, str] | None) -> None:
    """Check a configuration FILE and the files it names; exit status 2 if it cannot be used."""
    config = _load(file, {})
    try:
        users = users_of(config)
        if config.tls.cert:
            Certificates(config.tls)
    except ConfigError as error:
        click.echo(f"stompy-broker: {file}: {error}", err=True)
        sys.exit(EXIT_USAGE)
    for problem in doubts(config, users):
        click.echo(f"stompy-broker: {file}: warning: {problem}", err=True)
    if explain is not None:
        _explain(config, explain)
    if explain_access is not None:
        _explain_access(config, users, *explain_access)
    if explain is None and explain_access is None:
        click.echo(f"{file}: valid")


def _destination(text: str) -> Destination:
    try:
        return parse_destination(text)
    except ProtocolError as error:
        click.echo(f"stompy-broker: {text}: {error.Message}", err=True)
        sys.exit(EXIT_USAGE)


def _explain_access(config: BrokerConfig, users: Mapping[str, str], user: str, text: str) -> None:
    origins = Policies(config.policy).origins
    access = Access(config.acl, config.security.default_access, origins)
    destination = _destination(text)
    role = config.role_of(user)
    principal = Principal(user, role, proved=config.knows_users)
    if not config.knows_users:
        known = "; there are no users, so that is anybody"
    elif user == ANONYMOUS:
        known = "" if config.anonymous else "; nobody may come in without login"
    elif user in users:
        known = ""
    elif config.tls.login_from:
        known = "; there is no such user but by a certificate"
    else:
        known = "; there is no such user, so nobody can do this"
    click.echo(f"{user} (role {role}{known}), {destination}:")
    for action in Action:
        decision = access.decide(principal, action, destination)
        by = "security.default_access" if decision.rule is None else f"acl.{decision.rule}"
        if decision.origin is not None:
            by += f", about {decision.origin}, whose messages may be in it"
        if decision.is_exempt:
            by = "it is no matter of the ACL"
        click.echo(f"{action} = {'allow' if decision.allowed else 'deny'}  # {by}")


def _explain(config: BrokerConfig, text: str) -> None:
    destination = _destination(text)
    policies = Policies(config.policy)
    index = policies.index(destination.kind, destination.name)
    policy = policies.find(destination.kind, destination.name)
    which = "defaults" if index is None else f"policy.{index}, match = {json.dumps(policy.match)}"
    click.echo(f"{destination}: {which}")
    for name, value in policy.model_dump(exclude={"match"}).items():
        click.echo(f"{name} = {json.dumps(value)}")


@main.command("hash-password")
@click.password_option("--password", help="The password; asked for when left out.")
def hash_password_command(password: str) -> None:
    """Print a salted hash of a password, for [users] in the configuration."""
    click.echo(hash_password(password))


main.add_command(user)


@main.group(epilog=_STORE_EPILOG)
def store() -> None:
    """Look into a data directory that no broker uses, or make it smaller.

    Locks the directory meanwhile. All but `compact` change nothing in the database.
    """


_DIRECTORY = click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False)
)


@store.command("check", epilog=_STORE_EPILOG)
@_DIRECTORY
def store_check(directory: Path) -> None:
    """Look through the database in DIR for damage, and print each finding."""
    with _inspected(directory) as inspection:
        findings = inspection.check()
    for finding in findings:
        click.echo(finding)
    if findings:
        sys.exit(EXIT_NOT_SOUND)
    click.echo(f"{directory}: no damage found")


@store.command("stats", epilog=_STORE_EPILOG)
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; times in ms.")
def store_stats(directory: Path, as_json: bool) -> None:
    """Print what DIR holds: queues, durable subscriptions, files."""
    with _inspected(directory) as inspection:
        stats = inspection.stats()
    if as_json:
        click.echo(json.dumps(asdict(stats)))
    else:
        _print_stats(stats)


@store.command("export", epilog=_STORE_EPILOG)
@_DIRECTORY
def store_export(directory: Path) -> None:
    """Print every message in DIR, a JSON object a line.

    Of a damaged database it prints what can be read, and tells on standard error what cannot.
    """
    try:
        with _inspected(directory) as inspection:
            for message in inspection.export():
                click.echo(_json_line(message))
            sys.stdout.flush()
            problems = inspection.problems
    except BrokenPipeError:
        # Who reads has had enough. Nothing more may be written there, not even at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_NOT_SOUND)
    for problem in problems:
        click.echo(f"stompy-broker: {problem}", err=True)
    if problems:
        sys.exit(EXIT_NOT_SOUND)


@store.command("compact", epilog=_STORE_EPILOG)
@_DIRECTORY
@click.option("--drop-damaged", is_flag=True, help="Delete damaged messages that were set aside.")
def store_compact(directory: Path, drop_damaged: bool) -> None:
    """Write the database in DIR anew, as short as it can be.

    A database that was made by this release gives room back by itself; one of before does so once
    it was compacted. Needs as much free disk as is in use, twice.
    """
    try:
        done = compact_directory(directory, drop_damaged=drop_damaged)
    except StoreError as error:
        click.echo(f"stompy-broker: {error}", err=True)
        sys.exit(EXIT_NOT_SOUND)
    click.echo(f"{directory}: {done.before} bytes before, {done.after} after")
    if drop_damaged:
        click.echo(f"damaged messages deleted: {done.dropped}")


@contextlib.contextmanager
def _inspected(directory: Path) -> Iterator[Inspection]:
    try:
        with inspected(directory) as inspection:
            yield inspection
    except StoreError as error:
        click.echo(f"stompy-broker: {error}", err=True)
        sys.exit(EXIT_NOT_SOUND)


def _json_line(message: Exported) -> str:
    fields = asdict(message)
    fields["body_base64"] = base64.b64encode(fields.pop("body")).decode()
    return json.dumps(fields)


def _print_stats(stats: Stats) -> None:
    _print_table(
        ("queue", "messages", "bytes", "oldest"),
        [
            (
                queue.destination or "(queue missing)",
                str(queue.messages),
                str(queue.bytes),
                "" if queue.oldest is None else _time(queue.oldest),
            )
            for queue in stats.queues
        ],
    )
    click.echo()
    _print_table(
        ("durable subscription", "topics"), [(s.name, s.pattern) for s in stats.subscriptions]
    )
    click.echo()
    if stats.damaged:
        click.echo(f"damaged messages that were set aside: {stats.damaged}\n")
    _print_table(("file", "bytes"), [(name, str(size)) for name, size in stats.files.items()])


def _print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for row in (heading, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _time(milliseconds: int) -> str:
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return str(milliseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _load(file: Path | None, overrides: dict[str, dict[str, object]]) -> BrokerConfig:
    try:
        return load_config(file, overrides)
    except ConfigError as error:
        click.echo(f"stompy-broker: {error}", err=True)
        sys.exit(EXIT_USAGE)


def _run(config: BrokerConfig, until_eof: bool) -> int:
    _allow_many_files()
    # Waiting messages are many objects that never form cycles. Looking at them less often costs
    # memory only where cycles exist. Measured with benchmarks/collector.py: filling a queue takes a
    # quarter less processor time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # The store's writer has to get the interpreter's lock from a busy event loop several times for
    # each commit. Measured with benchmarks/peers.py: twice the rate of receipted messages.
    sys.setswitchinterval(0.0005)
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_serve(config, until_eof))
    return 1


async def _serve(config: BrokerConfig, until_eof: bool) -> int:
    broker = Broker(config)
    try:
        await broker.start()
    except OSError as error:
        click.echo(
            f"stompy-broker: cannot listen on {config.listen.host}:{config.listen.port}: "
            f"{error.strerror or error}",
            err=True,
        )
        return EXIT_CANNOT_START
    except StoreError as error:
        click.echo(f"stompy-broker: {error}", err=True)
        return EXIT_CANNOT_START
    except ConfigError as error:
        click.echo(f"stompy-broker: {error}", err=True)
        return EXIT_USAGE
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), _read_input, loop, signals)
    loop.add_signal_handler(signal.SIGHUP, broker.reload)
    click.echo(f"stompy-broker ready {' '.join(broker.urls)}")
    await signals.get()
    stopping = asyncio.create_task(broker.stop())
    second = asyncio.create_task(signals.get())
    done, _ = await asyncio.wait((stopping, second), return_when=asyncio.FIRST_COMPLETED)
    if stopping in done:
        second.cancel()
        return 0
    stopping.cancel()
    broker.abort()
    return 1


def _read_input(loop: asyncio.AbstractEventLoop, signals: asyncio.Queue[int]) -> None:
    """Skip what comes on standard input; its end is as good as a signal."""
    if not os.read(sys.stdin.fileno(), 65536):
        loop.remove_reader(sys.stdin.fileno())
        signals.put_nowait(signal.SIGTERM)


def _allow_many_files() -> None:
    """A connection is a file; take all that the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
