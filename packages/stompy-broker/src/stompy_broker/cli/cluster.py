"""The sub-commands ``stompy-broker cluster``, for several brokers that have one set of queues."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import click

import stompy
from stompy.admin.command import CommandError, Reply, Request
from stompy.admin.snapshot import COMMAND_DESTINATION, SchemaError
from stompy_broker.cli.cluster_demo import MOST_PORT, ClusterDemo, DemoError
from stompy_broker.cli.console import complain, print_table
from stompy_broker.cluster_secret import write_secret
from stompy_broker.config import ConfigError

EXIT_FAILED = 1
EXIT_NOT_WHOLE = 3

_DEFAULT_URL = "stomp://127.0.0.1:61613"

_EPILOG = """
\b
Exit status:
  0  done
  1  it could not be done; standard error says why
  2  wrong usage
"""

_STATUS_EPILOG = f"""{_EPILOG.rstrip()}
  3  a broker or server is missing or leaves, or a group has no owner: stop no other
     machine now
"""

_DEMO_EPILOG = """
\b
Exit status:
  0  ended by Ctrl-C or SIGTERM, all brokers in good order
  1  a broker did not start, or did not end in good order; DIR has its log
  2  wrong usage
"""


@click.group(epilog=_EPILOG)
def cluster() -> None:
    """Set up and look after several brokers that have one set of queues."""


@cluster.command("secret", epilog=_EPILOG)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def cluster_secret(file: Path) -> None:
    """Make a secret in FILE, which must not exist, for `cluster.secret_file`.

    All brokers of a cluster have the same one: copy it to the other machines by a way that nobody
    else can read, such as scp.
    """
    try:
        write_secret(file)
    except OSError as error:
        complain(f"{file}: cannot be written: {error.strerror}")
        sys.exit(EXIT_FAILED)
    click.echo(f"{file}: a new secret, which only its owner may read")


@cluster.command("demo", epilog=_DEMO_EPILOG)
@click.option(
    "--data",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default="cluster-demo",
    show_default=True,
    help="Where everything is kept; a later demo goes on with it.",
)
@click.option(
    "--port",
    type=click.IntRange(1, MOST_PORT),
    help="Of the first broker. The others have the next two, the NATS servers those from 10 on "
    "above it, and from 2010 on.  [default: 61613]",
)
@click.option(
    "--back",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    help="When a broker that was killed is started again.",
)
def cluster_demo(directory: Path, port: int | None, back: float) -> None:
    """Run three brokers with three NATS servers on this machine, and say what to kill.

    The first line on standard output begins with "stompy-broker cluster ready" and goes on with
    three URLs.
    """
    try:
        demo = ClusterDemo(directory, port or 0, back)
        demo.prepare()
        code = demo.run()
    except (DemoError, ConfigError) as error:
        complain(str(error))
        sys.exit(EXIT_FAILED)
    sys.exit(code)


# -- what is asked of a broker -----------------------------------------------------------------

_FILE = click.Path(dir_okay=False)

_ASKING = (
    click.option("--url", envvar="STOMPY_URL", default=_DEFAULT_URL, show_default=True,
                 help="A broker of the cluster; $STOMPY_URL."),
    click.option("--login", help="Login, unless the URL has one."),
    click.option("--passcode", envvar="STOMPY_PASSCODE",
                 help="Its passcode; $STOMPY_PASSCODE, which nobody else sees."),
    click.option("--ca-file", type=_FILE, help="PEM file of the authorities to trust."),
    click.option("--cert-file", type=_FILE, help="PEM file of our own certificate."),
    click.option("--key-file", type=_FILE, help="PEM file of its key."),
    click.option("--server-hostname", metavar="NAME", help="The name in its certificate."),
    click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), default=60.0,
                 show_default=True, help="How long the broker may take."),
)  # fmt: skip
"""Options of all commands that ask a broker."""


def _asks(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_ASKING):
        command = option(command)
    return command


@cluster.command("status", epilog=_STATUS_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_asks
def cluster_status(as_json: bool, **how: Any) -> None:
    """Print the brokers, who owns which group of queues, and the NATS servers."""
    told = _answer(Request("cluster.status"), how)
    if as_json:
        click.echo(json.dumps(told))
    else:
        _print_status(told)
    if not _is_whole(told):
        sys.exit(EXIT_NOT_WHOLE)


@cluster.command("move", epilog=_EPILOG)
@click.argument("group")
@click.argument("broker")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@_asks
def cluster_move(group: str, broker: str, dry_run: bool, **how: Any) -> None:
    """Have BROKER own a group of queues, and wait until it does.

    GROUP is its number, or the name of a queue in it: /queue/orders.
    """
    which: dict[str, object] = {"group": int(group)} if group.isdecimal() else {"queue": group}
    request = Request("cluster.move", {"broker": broker, **which}, dry_run)
    told = _answer(request, how)
    owner = told["from"] or "nobody"
    if told["moved"]:
        click.echo(f"group {told['group']}: {owner} had it, {broker} has it now")
    elif owner == broker:
        click.echo(f"group {told['group']}: {broker} has it already")
    else:
        click.echo(f"group {told['group']}: {owner} has it, {broker} would")


@cluster.command("drain", epilog=_EPILOG)
@click.option("--off", is_flag=True, help="Let it take groups again.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@_asks
def cluster_drain(off: bool, dry_run: bool, **how: Any) -> None:
    """Have the broker of --url give all its groups to others, and wait until it has none.

    It takes none until it is started anew, or `--off`. Clients may stay; stopping a broker by
    SIGTERM does the same.
    """
    told = _answer(Request("cluster.drain", {"enable": not off}, dry_run), how)
    groups = _numbers(told["groups"]) or "none"
    if off:
        click.echo(f"{told['broker']} takes groups again")
    elif dry_run:
        click.echo(f"{told['broker']} has groups {groups}, and would give them away")
    else:
        click.echo(f"{told['broker']} has no groups any more; it had {groups}")


@cluster.command("accept", epilog=_EPILOG)
@click.argument("group", type=int)
@click.option("--dry-run", is_flag=True, help="Only see whether it could be done.")
@_asks
def cluster_accept(group: int, dry_run: bool, **how: Any) -> None:
    """Have the broker of --url go on with GROUP although something is missing in its log.

    What was there is lost. Nobody owns such a group until this is said, and the log tells which
    records are missing; first see whether a server that is down has them.
    """
    _answer(Request("cluster.accept", {"group": group}, dry_run), how)
    click.echo(f"group {group}: " + ("nobody has it" if dry_run else "what is missing is given up"))


def _answer(request: Request, how: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask the broker that is meant; what goes wrong ends the program."""
    ca, cert, key = how["ca_file"], how["cert_file"], how["key_file"]
    hostname = how["server_hostname"]
    given = any((ca, cert, key, hostname))
    tls = stompy.TLS(ca, cert, key, server_hostname=hostname) if given else None
    try:
        client = stompy.connect(how["url"], how["login"], how["passcode"], tls=tls)
        with client:
            answer = client.request(COMMAND_DESTINATION, request.to_json(), timeout=how["timeout"])
            return Reply.from_json(answer.body or b"", answer.headers).checked()
    except CommandError as error:
        complain(error.message)
    except (stompy.STOMPError, SchemaError, ValueError, OSError) as error:
        complain(f"the broker cannot be asked: {error}")
    sys.exit(EXIT_FAILED)


def _is_whole(told: Mapping[str, Any]) -> bool:
    return (
        all(member["state"] == "alive" for member in told["members"])
        and all(group["owner"] for group in told["groups"])
        and all(server["state"] in {"leader", "follower"} for server in told["servers"])
    )


def _print_status(told: Mapping[str, Any]) -> None:
    click.echo(f"cluster {told['cluster']}, as its broker {told['broker']} knows it\n")
    owned: dict[str, list[int]] = {}
    for group in told["groups"]:
        owned.setdefault(group["owner"], []).append(group["number"])
    follows: dict[str, list[int]] = {}
    for group in told["groups"]:
        follows.setdefault(group["standby"], []).append(group["number"])
    members = [
        (
            one["id"],
            one["state"],
            one["address"],
            one["version"],
            _numbers(owned.get(one["id"])),
            _numbers(follows.get(one["id"])),
        )
        for one in sorted(told["members"], key=itemgetter("id"))
    ]
    _print_known(("broker", "state", "address", "version", "groups", "stands by for"), members)
    if "" in owned:
        click.echo(f"\ngroups without an owner: {_numbers(owned[''])}")
    servers = [
        (one["name"], one["state"], one["address"], one["version"], one["sync"])
        for one in told["servers"]
    ]
    if servers:
        click.echo()
        _print_known(("server", "state", "address", "version", "syncs"), servers)


def _print_known(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print the columns of which anything is known."""
    known = [place for place in range(len(heading)) if any(row[place] for row in rows)]
    shown = [[row[place] for place in known] for row in (heading, *rows)]
    print_table(shown[0], shown[1:])


def _numbers(numbers: Sequence[int] | None) -> str:
    return " ".join(map(str, numbers or ()))
