"""What a command line leads to: something printed, waited for or recorded, or the dashboard.

Textual is imported only where there will be a screen: that is a quarter of a second which scripts
need not wait.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path

import click

from stompy.transport.tls import as_options
from stompy_monitor import headless
from stompy_monitor.conditions import Condition
from stompy_monitor.dashboard import Options
from stompy_monitor.headless import Exit, Failure, say
from stompy_monitor.model.alarms import Rule
from stompy_monitor.model.escape import safe
from stompy_monitor.model.model import Model
from stompy_monitor.report import Form, Report
from stompy_monitor.sources.base import Target
from stompy_monitor.sources.feed import Feed
from stompy_monitor.sources.recording import NoRecording, Recording
from stompy_monitor.sources.replay import Replay


@dataclass(frozen=True)
class Wish:
    """What the command line asks for, beside how the dashboard looks."""

    once: bool
    report: Report
    watch: int | None
    fail_if: tuple[Condition, ...]
    wait: Condition | None
    timeout: float
    interval_ms: int
    record: Path | None
    record_max: int
    replay: Path | None
    at: str | None
    rules: tuple[Rule, ...]

    @property
    def needs_no_screen(self) -> bool:
        """Whether data are wanted instead of the dashboard."""
        modes = (self.record, self.wait, self.watch)
        printed = self.once or self.report.form is not Form.TEXT or bool(self.fail_if)
        return printed or any(mode is not None for mode in modes)


# -- without a screen ----------------------------------------------------------------------------


def without_screen(target: Target, wish: Wish) -> Coroutine[None, None, Exit] | None:
    """What is to be done without a screen; None for the dashboard.

    Raises:
        click.UsageError: options that do not go together, or a recording that cannot be read.
    """
    if wish.replay is not None and wish.needs_no_screen:
        if wish.record is not None or wish.wait is not None or wish.watch is not None:
            raise click.UsageError("a recording is shown, or printed with --once; nothing else")
        recording = _recording(wish)
        at = _moment(wish.at, recording)
        return headless.recorded(recording, at, wish.report, wish.fail_if, wish.rules)
    if wish.record is not None:
        return headless.record(target, wish.record, wish.interval_ms, wish.record_max)
    if wish.wait is not None:
        return headless.wait(target, wish.wait, wish.timeout, wish.rules)
    if wish.watch is not None:
        how = wish.report, wish.fail_if, wish.interval_ms, wish.watch, wish.rules
        return headless.watch(target, *how)
    if wish.needs_no_screen:
        return headless.once(target, wish.report, wish.fail_if, wish.rules)
    return None


def _recording(wish: Wish) -> Recording:
    """The recording that is to be replayed.

    Raises:
        click.UsageError: it is none, or cannot be read.
    """
    assert wish.replay is not None
    try:
        return Recording(wish.replay)
    except (NoRecording, OSError) as error:
        raise click.UsageError(safe(str(error))) from error


def run(task: Coroutine[None, None, Exit]) -> int:
    """Do it, say on standard error why it failed, and give the exit code."""
    try:
        return asyncio.run(task)
    except Failure as failure:
        say(safe(as_options(str(failure))))
        return failure.code
    except BrokenPipeError:
        # Nobody reads any more; the interpreter must not stumble over that at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FINE
    except OSError as error:
        words = f"{error.filename}: {error.strerror}" if error.filename else as_options(str(error))
        say(safe(words))
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


# -- with a screen -------------------------------------------------------------------------------


def _options(look: dict[str, object]) -> Options:
    from stompy_monitor.themes import full_name  # noqa: PLC0415 -- see above

    return Options(**{**look, "theme": full_name(str(look["theme"]))})  # type: ignore[arg-type]


def show(target: Target, wish: Wish, look: dict[str, object], *, mouse: bool) -> int:
    """Run the dashboard in this terminal, and give the exit code."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    served = "TEXTUAL_DRIVER" in os.environ  # by --web, which has a terminal of its own
    if not served and not all(stream.isatty() for stream in streams):
        say("the dashboard needs a terminal; --once prints one set, --watch one after the other")
        return Exit.USAGE
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    from stompy_monitor.app import MonitorApp, check_keys  # noqa: PLC0415 -- see above

    model = Model(wish.rules)
    try:
        options = _options(look)
        check_keys(options.keys)
        if wish.replay is not None:
            recording = _recording(wish)
            source: Feed | Replay = Replay(recording, model, at=_moment(wish.at, recording))
        else:
            source = Feed(target, model, interval_ms=wish.interval_ms)
    except ValueError as error:
        say(safe(as_options(str(error))))
        return Exit.USAGE
    app = MonitorApp(model, source, options)
    app.run(mouse=mouse)
    # A crash of the program must not look like a good end.
    return app.return_code or 0


def _moment(text: str | None, recording: Recording) -> float | None:
    """Where a recording is to begin.

    Raises:
        click.UsageError: that is no time of day.
    """
    try:
        return None if text is None else recording.moment(text)
    except ValueError as error:
        raise click.UsageError(f"--at: {text!r} is no time of day, such as 03:10:00") from error


def serve(where: str, write: bool, target: Target, look: dict[str, object]) -> int:
    """Serve the dashboard to a browser until interrupted, and give the exit code."""
    try:
        from stompy_monitor import web  # noqa: PLC0415 -- see above
    except ImportError:
        say("--web needs more packages: pip install 'stompy-monitor[web]'")
        return Exit.USAGE
    try:
        return web.serve(where, target, look, write=write)
    except (OSError, ValueError) as error:
        say(safe(as_options(str(error))))
        return Exit.USAGE
