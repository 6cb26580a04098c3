"""The configuration file: what the command line would say each time, thresholds and keys.

A key at the top, or in a profile, is an option of the command line without its dashes. What the
command is to do, such as ``--once`` or ``--web``, is said there only.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import platformdirs
from click.core import ParameterSource

from stompy_monitor.model.alarms import RULES, Rule, with_thresholds
from stompy_monitor.model.filter import COUNTS, TIMES, number
from stompy_monitor.tables import definitions

KEPT = frozenset(
    (
        *("url", "login", "passcode", "passcode-file", "vhost", "timeout", "interval"),
        *("ca-file", "cert-file", "key-file", "server-hostname"),
        *("view", "filter", "sort", "read-only"),
        *("theme", "no-color", "ascii", "no-mouse", "fps", "slow-link", "bell", "log-file"),
    )
)
"""What a file may say."""

_RENAMED = {"tls-ca": "ca-file", "tls-cert": "cert-file", "tls-key": "key-file"}
"""What options were called; the old names are still understood."""

_SECRETS = frozenset(("passcode",))
_A_MINUTE, _SHARES = frozenset(("dead-letters", "logins")), frozenset(("limit", "descriptors"))
"""The alarms whose limits are no times."""


def renamed(name: str) -> str:
    """What an option is called now."""
    return _RENAMED.get(name, name)


class ConfigurationError(ValueError):
    """A file or something in it that is wrong; says which, and what."""


@dataclass(frozen=True)
class Configuration:
    """What a configuration file says, for one profile.

    Attributes:
        values: of options, by the names of their parameters.
        origins: where each of these comes from.
        rules: the alarms, with the thresholds of the file.
        keys: of bindings, by their ids.
        columns: of the tables, by their views.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = RULES
    keys: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def default_path() -> Path:
    """Where the file is looked for."""
    return platformdirs.user_config_path("stompy-monitor") / "config.toml"


def read(path: Path | None, profile: str | None, context: click.Context) -> Configuration:
    """Read a file, and of it one profile.

    Args:
        path: of the file; by default that of the user, which need not be there.
        profile: its name.
        context: of the command whose options the keys are.

    Raises:
        ConfigurationError: there is no such file or profile, or something in it is wrong.
    """
    file = path or default_path()
    if path is None and not file.is_file():
        if profile is not None:
            raise ConfigurationError(f"{file}: there is no such file, so no profile {profile!r}")
        return Configuration()
    told = _load(file)
    try:
        return _understand(told, str(file), profile, context)
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from error


def _load(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from error


def _understand(
    told: Mapping[str, object], file: str, profile: str | None, context: click.Context
) -> Configuration:
    top = {key: value for key, value in told.items() if key not in _TABLES}
    profiles = _table(told, "profile")
    values = dict(_values(top, "", context))
    origins = dict.fromkeys(values, file)
    for name in profiles:
        of_profile = dict(_values(_table(profiles, name, "profile."), f"profile.{name}.", context))
        if name == profile:
            values |= of_profile
            origins |= dict.fromkeys(of_profile, f"profile {name}")
    if profile is not None and profile not in profiles:
        known = ", ".join(profiles) or "none"
        raise ValueError(f"there is no profile {profile!r}; known: {known}")
    keys = _table(told, "keys")
    for name, key in keys.items():
        if not isinstance(key, str):
            raise ValueError(f"keys.{name}: the name of a key is wanted, not {key!r}")
    thresholds = {name: _thresholds(told, name) for name in _table(told, "alarm")}
    rules = with_thresholds(RULES, thresholds)
    columns = {name: _columns(told, name) for name in _table(told, "columns")}
    bindings = {name: str(key) for name, key in keys.items()}
    return Configuration(values, origins, rules, bindings, columns)


_TABLES = ("alarm", "columns", "keys", "profile")


def _columns(told: Mapping[str, object], name: str) -> tuple[str, ...]:
    """The columns of one view."""
    if name not in definitions.BY_NAME:
        raise ValueError(f"columns.{name}: there is no such view: {', '.join(definitions.BY_NAME)}")
    found = _table(told, "columns")[name]
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError(f"columns.{name}: a list of names is wanted, not {found!r}")
    return tuple(found)


def _table(told: Mapping[str, object], name: str, inside: str = "") -> Mapping[str, object]:
    found = told.get(name, {})
    if name == "columns" and isinstance(found, list):
        raise ValueError("columns: a list for each view is wanted, as in [columns] queues = [...]")
    if not isinstance(found, dict):
        raise ValueError(f"{inside}{name}: a table is wanted, [{inside}{name}]")
    return found


def _values(
    told: Mapping[str, object], inside: str, context: click.Context
) -> Iterator[tuple[str, object]]:
    parameters = {name_of(parameter): parameter for parameter in context.command.params}
    for said, value in told.items():
        key = renamed(said)
        if key not in KEPT:
            why = "is for the command line only" if key in parameters else "is no option"
            raise ValueError(f"{inside}{key}: {why}")
        parameter = parameters[key]
        given = ",".join(map(str, value)) if isinstance(value, list) else value
        try:
            parameter.process_value(context, given)
        except click.BadParameter as error:
            raise ValueError(f"{inside}{key}: {error.message}") from error
        yield str(parameter.name), given


def _limit(name: str, level: str, text: str) -> float:
    """One limit, as its alarm counts."""
    limit, unit = number(text), text.lstrip("-.0123456789")
    wanted, units, most = 'a time with its unit, such as "90s"', TIMES.split(), math.inf
    if name in _SHARES:
        wanted, units, most = 'a share, such as 0.8 or "80%"', ["", "%"], 1.0
        limit = limit / 100 if limit is not None and unit else limit
    elif name in _A_MINUTE:
        wanted, units = "how many a minute", ["", *COUNTS.split()]
    if limit is None or unit not in units or not 0 <= limit <= most:
        raise ValueError(f"alarm.{name}.{level}: {wanted} is wanted, not {text!r}")
    return limit


class NumberRange(click.FloatRange):
    """Numbers within bounds; NaN, which every comparison lets pass, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or out of bounds.
        """
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


def name_of(parameter: click.Parameter) -> str:
    """A parameter as people write it, without dashes before it."""
    if isinstance(parameter, click.Argument):
        return str(parameter.name)
    return max(parameter.opts, key=len).removeprefix("--")


def _thresholds(told: Mapping[str, object], name: str) -> tuple[float, float]:
    """The two limits of an alarm, in the unit of its rule: numbers, or text with a unit."""
    known = [rule.name for rule in RULES]
    if name not in known:
        raise ValueError(f"there is no alarm “{name}”: {', '.join(known)}")
    limits = _table(_table(told, "alarm"), name, "alarm.")
    if limits.keys() != {"warn", "critical"}:
        raise ValueError(f"alarm.{name}: warn and critical are wanted, both")
    found = []
    for level in ("warn", "critical"):
        value = limits[level]
        found.append(_limit(name, level, str(value)))
    if found[0] > found[1]:
        raise ValueError(f"alarm.{name}: warn comes before critical")
    return found[0], found[1]


def show(context: click.Context, configuration: Configuration) -> str:
    """Each option with its value and where that comes from; secrets are masked."""
    lines = []
    for parameter in context.command.params:
        name = name_of(parameter)
        if name not in KEPT or parameter.name is None:
            continue
        value = context.params.get(parameter.name)
        source = context.get_parameter_source(parameter.name)
        origin = {
            ParameterSource.COMMANDLINE: "command line",
            ParameterSource.ENVIRONMENT: f"${parameter.envvar}",
            ParameterSource.DEFAULT_MAP: configuration.origins.get(parameter.name, "file"),
        }.get(source or ParameterSource.DEFAULT, "default")
        lines.append(f"{name} = {_masked(name, value)}  ({origin})")
    for rule in configuration.rules:
        origin = "default" if rule in RULES else "file"
        lines.append(f"alarm.{rule.name} = {rule.warn:g}, {rule.critical:g}  ({origin})")
    lines += [f"columns.{n} = {','.join(c)}  (file)" for n, c in configuration.columns.items()]
    lines += [f"keys.{name} = {key}  (file)" for name, key in configuration.keys.items()]
    return "\n".join(lines)


def _masked(name: str, value: object) -> str:
    if value is None or value == "":
        return "-"
    if name in _SECRETS:
        return "***"
    if name == "url" and "@" in str(value):
        secret = urlsplit(str(value)).password
        return str(value).replace(f":{secret}@", ":***@") if secret else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
