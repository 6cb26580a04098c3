"""The sub-commands ``stompy-broker cluster``, for several brokers that have one set of queues."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stompy_broker.cli.console import complain
from stompy_broker.cluster_secret import write_secret

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
