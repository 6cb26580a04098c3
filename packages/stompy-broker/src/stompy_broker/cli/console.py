"""What the sub-commands have in common: exit codes, complaints, reading the configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stompy_broker.config import BrokerConfig, ConfigError, load_config

EXIT_CANNOT_START = 1
EXIT_NOT_SOUND = 1
EXIT_USAGE = 2


def complain(text: str) -> None:
    """Say on standard error what is wrong, a line for each mistake."""
    click.echo(f"stompy-broker: {text}", err=True)


def load_or_exit(file: Path | None, overrides: dict[str, dict[str, object]]) -> BrokerConfig:
    """Read a configuration; one that cannot be used ends the program."""
    try:
        return load_config(file, overrides)
    except ConfigError as error:
        complain(str(error))
        sys.exit(EXIT_USAGE)


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heading, each column as wide as need be."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for row in (heading, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
