"""The command ``stompy-broker``."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path

import click

from stompy_broker.build import compiled
from stompy_broker.cli import check, cluster, run, store, users
from stompy_broker.cli.console import load_or_exit
from stompy_broker.config import load_config
from stompy_broker.event_loop import chosen
from stompy_broker.security.auth import hash_password
from stompy_broker.version import __version__

_EPILOG = """
\b
Exit status:
  0  stopped by SIGTERM or SIGINT, everything finished
  1  the address or the data directory cannot be used, or a second signal cut the
     stop short
  2  wrong usage or configuration; standard error names file, key and reason

\b
SIGHUP has it read the configuration, users and certificates again; the log says
what of it needs a restart.

\b
Examples:
  stompy-broker
  stompy-broker --host 0.0.0.0 --config broker.toml
  stompy-broker check broker.toml
  stompy-broker user add users.txt ann
  stompy-broker store stats data
"""


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        loop = chosen("auto")
        click.echo(
            f"stompy-broker, version {__version__} (compiled: {compiled()}, event loop: {loop})"
        )
        context.exit()


@click.group(invoke_without_command=True, epilog=_EPILOG)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--host", help="Address to bind to.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="TCP port; 0 picks a free one.  [default: 61613]")
@click.option("--data", help="Directory of the message store.  [default: data]")
@click.option(
    "--loop",
    type=click.Choice(["auto", "asyncio", "uvloop"]),
    help="Event loop; auto = uvloop where it is installed.  [default: auto]",
)
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
    help="Show the version, whether it is compiled, and the event loop, and exit.",
)
@click.pass_context
def main(  # noqa: PLR0913, PLR0917 -- as many as there are options
    context: click.Context,
    config_file: Path | None,
    host: str | None,
    port: int | None,
    data: str | None,
    loop: str | None,
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
    if loop is not None:
        overrides["server"] = {"loop": loop}
    if memory and data is not None:
        raise click.UsageError("--data and --memory exclude each other")
    if memory or data is not None:
        overrides["store"] = {"data": data or ""}
    if allow_anonymous:
        overrides["security"] = {"allow_anonymous": True}
    config = load_or_exit(config_file, overrides)
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    sys.exit(run.run(config, until_eof, partial(load_config, config_file, overrides)))


@main.command("hash-password")
@click.password_option("--password", help="The password; asked for when left out.")
def hash_password_command(password: str) -> None:
    """Print a salted hash of a password, for [users] in the configuration."""
    click.echo(hash_password(password))


main.add_command(check.check)
main.add_command(users.user)
main.add_command(store.store)
main.add_command(cluster.cluster)
