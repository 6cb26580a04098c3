"""The sub-commands ``stompy-broker cluster``, for several brokers that have one set of queues."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stompy_broker.cli.cluster_demo import MOST_PORT, ClusterDemo, DemoError
from stompy_broker.cli.console import complain
from stompy_broker.cluster_secret import write_secret
from stompy_broker.config import ConfigError

EXIT_FAILED = 1

_EPILOG = """
\b
Exit status:
  0  done
  1  it could not be done; standard error says why
  2  wrong usage
"""


@click.group(epilog=_EPILOG)
def cluster() -> None:
    """Set up several brokers that have one set of queues."""


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


_DEMO_EPILOG = """
\b
Exit status:
  0  ended by Ctrl-C or SIGTERM, all brokers in good order
  1  a broker did not start, or did not end in good order; DIR has its log
  2  wrong usage
"""


@cluster.command("demo", epilog=_DEMO_EPILOG, hidden=True)
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
