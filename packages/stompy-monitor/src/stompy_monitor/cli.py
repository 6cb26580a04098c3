"""The command ``stompy-monitor``: its options, and what they say together.

Standard output carries data, standard error words.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
from click.core import ParameterSource

import stompy
from stompy.session.address import parse_address
from stompy_monitor import config as configuration
from stompy_monitor import headless
from stompy_monitor.conditions import Condition
from stompy_monitor.config import Configuration, NumberRange
from stompy_monitor.model.escape import safe
from stompy_monitor.model.filter import ExpressionError, parse
from stompy_monitor.model.model import CLUSTER, KINDS
from stompy_monitor.modes import Wish, run, serve, show, without_screen
from stompy_monitor.report import Form, Report
from stompy_monitor.sources.base import Target
from stompy_monitor.tables import definitions
from stompy_monitor.tables.columns import Column
from stompy_monitor.tables.definitions import View
from stompy_monitor.tables.vocabulary import names_of

DEFAULT_URL = "stomp://127.0.0.1:61613"
_MIB = 2**20
_SLOW_INTERVAL = 3.0
_FILE = click.Path(dir_okay=False, exists=True)

EPILOG = """\b
Exit codes:
  0    all is well; also when the reader of a pipe has had enough
  1    a --fail-if matched, or --wait was in vain
  2    wrong usage
  3    the broker cannot be reached, or the connection was lost
  4    the login was refused, or its user has no role that may look
  5    the broker has no admin topics
  130  interrupted

\b
Examples:
  stompy-monitor stomp://ops@broker.example:61613
  stompy-monitor --once --json | jq '.queues[] | select(.ready > 1000) | .name'
  stompy-monitor --once --fail-if 'queue.ready>10k queue.consumers=0'
  stompy-monitor --wait 'queue.name=orders queue.ready=0' --timeout 60
"""


def _conditions(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> tuple[Condition, ...]:
    try:
        return tuple(Condition.read(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _condition(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> Condition | None:
    return None if text is None else _conditions(context, parameter, [text])[0]


def _kinds(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    kinds = tuple(filter(None, text.split(",")))
    known = ("broker", *KINDS, CLUSTER)
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}")
    return kinds


def _configure(
    context: click.Context, parameter: click.Parameter, value: Path | str | None
) -> Path | str | None:
    """Read the configuration as soon as both its file and its profile are known."""
    asked = context.meta.setdefault(__name__, {})
    asked[parameter.name] = value
    if len(asked) > 1:
        try:
            context.obj = configuration.read(asked["config"], asked["profile"], context)
        except configuration.ConfigurationError as error:
            raise click.UsageError(safe(str(error), 1000)) from error
        context.default_map = dict(context.obj.values)
    return value


@click.command(epilog=EPILOG, context_settings={"token_normalize_func": configuration.renamed})
@click.argument("url", envvar="STOMPY_URL", default=DEFAULT_URL)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_configure,
    envvar="STOMPY_MONITOR_CONFIG",
    help="Configuration file, in TOML; by default the user's own.",
)
@click.option(
    "--profile",
    metavar="NAME",
    is_eager=True,
    callback=_configure,
    envvar="STOMPY_MONITOR_PROFILE",
    help="Part of it to use, [profile.NAME].",
)
@click.option("--show-config", is_flag=True, help="Print the options in force, and their origins.")
@click.option("--login", metavar="L", envvar="STOMPY_LOGIN", help="Login, unless the URL has one.")
@click.option(
    "--passcode",
    metavar="P",
    envvar="STOMPY_PASSCODE",
    help="Passcode, unless the URL has one; better in $STOMPY_PASSCODE, which others cannot see.",
)
@click.option(
    "--passcode-file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="File whose first line is the passcode.",
)
@click.option("--vhost", metavar="V", help="Virtual host, unless the URL has one.")
@click.option("--ca-file", type=_FILE, help="PEM file of the authorities to trust.")
@click.option("--cert-file", type=_FILE, help="PEM file of our own certificate.")
@click.option("--key-file", type=_FILE, help="PEM file of its key.")
@click.option("--server-hostname", metavar="NAME", help="The name in its certificate, if another.")
@click.option(
    "--timeout",
    type=NumberRange(0.1),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds to connect; with --wait, seconds to wait.",
)
@click.option(
    "--interval",
    type=NumberRange(0.25, 30),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds between reports.",
)
@click.option(
    "--view",
    type=click.Choice(("overview", *definitions.BY_NAME)),
    default=None,
    help="The view to begin with.",
)
@click.option(
    "--filter", "expression", metavar="EXPR", default="", help="What it shows, as after /."
)
@click.option(
    "--sort", metavar="[-]COLUMN", default="", help="What it is sorted by; - for the largest first."
)
@click.option("--columns", metavar="A,B", default="", help="Its columns, by their JSON names.")
@click.option("--read-only", is_flag=True, help="No actions.")
@click.option(
    "--theme",
    metavar="T",
    default="",
    envvar="STOMPY_THEME",
    help="dark, light, high-contrast, colour-blind-dark, colour-blind-light or terminal.",
)
@click.option("--no-color", is_flag=True, help="No colours; so does $NO_COLOR.")
@click.option("--ascii", "ascii_only", is_flag=True, help="No blocks, dots or arrows.")
@click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal.")
@click.option(
    "--fps",
    type=NumberRange(0.2, 10),
    default=4.0,
    show_default=True,
    help="Repaints per second, at most.",
)
@click.option(
    "--slow-link",
    is_flag=True,
    help="Fewer bytes: a report each 3 seconds, calmer order, no trends.",
)
@click.option("--bell", is_flag=True, help="Ring when something becomes critical.")
@click.option("--once", is_flag=True, help="Print one set and end.")
@click.option(
    "--watch",
    type=click.IntRange(0),
    metavar="N",
    is_flag=False,
    flag_value=0,
    default=None,
    help="Print N sets, one each interval; without N until interrupted.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object to a line.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV; needs --kind with one kind.")
@click.option(
    "--kind",
    "kinds",
    callback=_kinds,
    default="",
    metavar="KINDS",
    help=f"Only these, with commas between: broker, {', '.join((*KINDS, CLUSTER))}.",
)
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    callback=_conditions,
    metavar="EXPR",
    help="Exit with 1 when it holds for some row. May be repeated.",
)
@click.option("--wait", callback=_condition, metavar="EXPR", help="End when it holds for some row.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Record to a file, without a screen, until interrupted.",
)
@click.option(
    "--record-max",
    type=click.IntRange(1),
    default=None,
    metavar="MIB",
    help="Begin a new file when it is so large; the old one becomes FILE.1.",
)
@click.option(
    "--replay",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="Show a recording.",
)
@click.option("--at", metavar="HH:MM:SS", help="Where the recording begins.")
@click.option(
    "--web",
    metavar="[HOST:]PORT",
    is_flag=False,
    flag_value="127.0.0.1:8000",
    default=None,
    help="Serve the dashboard to a browser; needs stompy-monitor[web].",
)
@click.option("--web-write", is_flag=True, help="With --web: allow actions.")
@click.option(
    "--log-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what the connection goes through to a file.",
)
@click.version_option(package_name="stompy-monitor")
@click.pass_context
def main(  # noqa: PLR0913, PLR0917 -- one argument for each option
    context: click.Context,
    url: str,
    config: Path | None,
    profile: str | None,
    show_config: bool,
    login: str | None,
    passcode: str | None,
    passcode_file: Path | None,
    vhost: str | None,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    server_hostname: str | None,
    timeout: float,
    interval: float,
    view: str | None,
    expression: str,
    sort: str,
    columns: str,
    read_only: bool,
    theme: str,
    no_color: bool,
    ascii_only: bool,
    no_mouse: bool,
    fps: float,
    slow_link: bool,
    bell: bool,
    once: bool,
    watch: int | None,
    as_json: bool,
    as_csv: bool,
    kinds: tuple[str, ...],
    fail_if: tuple[Condition, ...],
    wait: Condition | None,
    record: Path | None,
    record_max: int | None,
    replay: Path | None,
    at: str | None,
    web: str | None,
    web_write: bool,
    log_file: Path | None,
) -> None:
    """Show what the STOMP broker at URL is doing.

    URL is by default $STOMPY_URL, else stomp://127.0.0.1:61613. Without one of --once, --watch,
    --wait and --record it opens the dashboard, which needs a terminal.
    """
    chosen: Configuration = context.obj
    if show_config:
        click.echo(configuration.show(context, chosen))
        return
    _log_to(log_file)
    headless.replace_what_cannot_be_shown()
    if passcode_file is not None:
        passcode = passcode_file.read_text("utf-8").partition("\n")[0]
    try:
        parse_address(url)
    except ValueError as error:
        raise click.UsageError(safe(str(error))) from error
    tls = stompy.TLS(ca_file, cert_file, key_file, server_hostname=server_hostname)
    options = {} if tls == stompy.TLS() else {"tls": tls}
    target = Target(url, login, passcode, vhost, timeout, options)
    look = {
        "view": view or "overview",
        "filter": expression,
        "sort": sort,
        "columns": tuple(filter(None, columns.split(","))),
        "columns_of": chosen.columns,
        "read_only": read_only,
        "theme": theme,
        "ascii_only": ascii_only,
        "frames_per_second": min(fps, 2.0) if slow_link else fps,
        "slow_link": slow_link,
        "bell": bell,
        "keys": chosen.keys,
    }
    form = Form.CSV if as_csv else Form.JSON if as_json else Form.TEXT
    wish = Wish(
        once=once,
        report=Report(form, kinds),
        watch=watch,
        fail_if=fail_if,
        wait=wait,
        timeout=timeout,
        interval_ms=round(max(interval, _SLOW_INTERVAL if slow_link else 0) * 1000),
        record=record,
        record_max=(record_max or 0) * _MIB,
        replay=replay,
        at=at,
        rules=chosen.rules,
    )
    _check_look(look)
    wish = _with_report(wish, look, context)
    task = without_screen(target, wish)
    if task is not None:
        sys.exit(run(task))
    if no_color:
        os.environ["NO_COLOR"] = "1"
    if web is not None:
        _hand_on(config, profile)
        sys.exit(serve(web, web_write, target, look))
    sys.exit(show(target, wish, look, mouse=not no_mouse))


def _log_to(file: Path | None) -> None:
    """Log to a file; the screen is for something else.

    Raises:
        click.UsageError: it cannot be written.
    """
    if file is None:
        # What the client has to say, the screen shows; stderr would be in the midst of it.
        logging.getLogger("stompy").addHandler(logging.NullHandler())
        return
    try:
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--log-file {file}: {error.strerror}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("stompy").addHandler(handler)
    logging.getLogger("stompy").setLevel(logging.DEBUG)


def _hand_on(config: Path | None, profile: str | None) -> None:
    """Let the processes behind a browser read the same configuration."""
    for name, value in (("CONFIG", config and config.absolute()), ("PROFILE", profile)):
        if value is not None:
            os.environ[f"STOMPY_MONITOR_{name}"] = str(value)


def _check_look(look: dict[str, object]) -> None:
    """Refuse at once what the dashboard could not do.

    Raises:
        click.UsageError: a column in the configuration that there is not.
    """
    columns: Mapping[str, tuple[str, ...]] = look["columns_of"]  # type: ignore[assignment]
    for name, chosen in columns.items():
        for column in chosen:
            _column(definitions.BY_NAME[name], column, f"columns.{name}")


def _with_report(wish: Wish, look: dict[str, object], context: click.Context) -> Wish:
    """The wish with what filter, order and columns of the command line mean for it.

    Raises:
        click.UsageError: they cannot be understood, or there is nothing that they could be for.
    """
    report = wish.report
    if report.form is Form.CSV and len(report.kinds) != 1:
        raise click.UsageError("--csv needs --kind with one kind")
    screen = not wish.needs_no_screen
    kinds = () if screen else report.kinds
    (kind,) = kinds if len(kinds) == 1 else ("",)
    by_kind = next((view for view in definitions.TABLES if view.kind == kind), None)
    view = by_kind or definitions.BY_NAME.get(str(look["view"]))
    sort, names = str(look["sort"]), look["columns"]
    asked = [name for name in ("filter", "sort", "columns") if look[name]]
    said = [name for name in asked if _said(context, "expression" if name == "filter" else name)]
    where = "a --view with rows" if screen else "a --kind, one of those with rows"
    fits = view is not None and (screen or view.kind in (*KINDS, CLUSTER))
    if wish.wait is not None or wish.record is not None:
        fits, where = False, "--once or --watch"
    if not screen and _said(context, "view"):
        report = _of_view(report, view)
        wish = replace(wish, report=report)
    if not fits or view is None:
        if said:
            raise click.UsageError(f"--{said[0]} needs {where}")
        return wish
    try:
        expression = parse(str(look["filter"]), names_of(view))
    except ExpressionError as error:
        raise click.UsageError(f"--filter: {error}") from error
    columns = tuple(_column(view, name, "--columns") for name in names)  # type: ignore[attr-defined]
    by = _column(view, sort.removeprefix("-"), "--sort") if sort else None
    if asked and not screen:
        descending = sort.startswith("-")
        report = Report(report.form, (view.kind,), expression, by, descending, columns)
    return replace(wish, report=report)


def _of_view(report: Report, view: View | None) -> Report:
    """What is printed if a view of the screen was asked for: its rows, if they are all of a kind.

    Raises:
        click.UsageError: there are none, or it was said otherwise what is printed.
    """
    if view is None:
        return report  # the overview: everything
    if report.kinds or view.name != view.kind or view.kind not in (*KINDS, CLUSTER):
        raise click.UsageError("--view is for the screen; use --kind for what is printed")
    return Report(report.form, (view.kind,))


def _said(context: click.Context, parameter: str) -> bool:
    """Whether an option stands on the command line; what a file says is for the dashboard."""
    return context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def _column(view: View, name: str, where: str) -> Column:
    """A column by its name.

    Raises:
        click.UsageError: there is none.
    """
    column = view.column(name)
    if column is None:
        known = ", ".join(column.name for column in view.columns if column.title)
        raise click.UsageError(f"{where}: {view.name} has no column {name!r}: {known}")
    return column
