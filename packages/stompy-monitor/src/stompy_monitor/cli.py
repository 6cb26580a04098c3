"""The monitor's command line: connect to a broker and print one snapshot of its identity.

Standard output carries the data, standard error the reason when there is none. The snapshot is
what every STOMP broker tells in its CONNECTED frame, so any broker can be asked.
"""

from __future__ import annotations

import json
import sys

import click

import stompy

DEFAULT_URL = "stomp://127.0.0.1:61613"
UNREACHABLE = 1
"""Exit code when there is no snapshot to print."""

EPILOG = """\b
Exit codes:
  0  the snapshot was printed
  1  the broker cannot be reached or refused us; one line on stderr says why
  2  wrong usage
"""


@click.command(epilog=EPILOG)
@click.argument("url", envvar="STOMPY_URL", default=DEFAULT_URL)
@click.option("--login", metavar="L", help="Login, unless the URL has one.")
@click.option("--passcode", metavar="P", help="Passcode, unless the URL has one.")
@click.option("--once", is_flag=True, help="Print one snapshot and exit; today always so.")
@click.option("--json", "as_json", is_flag=True, help='Print one JSON object, {"broker": {...}}.')
@click.version_option(package_name="stompy-monitor")
def main(url: str, login: str | None, passcode: str | None, once: bool, as_json: bool) -> None:
    """Print who the STOMP broker at URL is.

    URL is by default $STOMPY_URL, else stomp://127.0.0.1:61613. Printed are the server software,
    the STOMP version agreed on, the session, the heart-beat and the address.
    """
    try:
        broker = read_identity(url, login, passcode)
    except (stompy.STOMPException, OSError) as error:
        # This clause comes first: a certificate that fails is an OSError and a ValueError.
        click.echo(f"stompy-monitor: {one_line(str(error))}", err=True)
        sys.exit(UNREACHABLE)
    except ValueError as error:
        raise click.UsageError(one_line(str(error))) from error
    click.echo(json.dumps({"broker": broker}) if as_json else as_text(broker))


def read_identity(url: str, login: str | None, passcode: str | None) -> dict[str, str | None]:
    """Connect, and return what the broker says of itself; None for what it does not say.

    Raises:
        ValueError: the URL cannot be understood.
        STOMPException: the broker refused the connection or did not answer.
        OSError: the broker cannot be reached.
    """
    client = stompy.connect(url, login=login, passcode=passcode)
    try:
        connected, address = client.connected_frame, client.broker_address
        assert connected is not None
        assert address is not None
        headers, (host, port) = connected.Headers, address
        return {
            "server": headers.get("server"),
            "version": headers.get("version", "1.0"),  # the header came with 1.1
            "session": headers.get("session"),
            "heart-beat": headers.get("heart-beat"),
            "address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        }
    finally:
        client.disconnect()


def as_text(broker: dict[str, str | None]) -> str:
    """One aligned line for each item."""
    return "\n".join(f"{name:<10}  {one_line(value or '-')}" for name, value in broker.items())


def one_line(text: str) -> str:
    """The peer's words, safe for a terminal: no line breaks, no control characters."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)
