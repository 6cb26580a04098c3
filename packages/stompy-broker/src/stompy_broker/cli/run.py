"""Running a broker in the foreground, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import click

from stompy_broker.broker import Broker
from stompy_broker.cli.console import EXIT_CANNOT_START, EXIT_USAGE, complain
from stompy_broker.config import BrokerConfig, ConfigError
from stompy_broker.event_loop import new_event_loop
from stompy_broker.posix import resource
from stompy_broker.store.base import StoreError

YOUNG: Final = 1_000
"""The garbage collector looks at what is new after so many new objects, ..."""
_UNTIL_OLD: Final = 100_000_000
"""... and at what has stayed after so many."""


def run(config: BrokerConfig, until_eof: bool, reread: Callable[[], BrokerConfig]) -> int:
    """Run a broker until a signal ends it; give the exit code.

    Args:
        config: its settings.
        reread: reads them again.
        until_eof: whether the end of standard input ends it as well.
    """
    _allow_many_files()
    tune_collector()
    # The store's writer has to get the interpreter's lock from a busy event loop several times for
    # each commit. Measured with benchmarks/peers.py: twice the rate of receipted messages.
    sys.setswitchinterval(0.0005)
    runner = asyncio.Runner(loop_factory=partial(new_event_loop, config.server.loop))
    with contextlib.suppress(KeyboardInterrupt), runner:
        return runner.run(_serve(Broker(config, reread), until_eof))
    return 1


async def _serve(broker: Broker, until_eof: bool) -> int:
    try:
        await broker.start()
    except OSError as error:
        listen = broker.config.listen
        place = error.filename or f"{listen.host}:{listen.port}"
        complain(f"cannot listen on {place}: {error.strerror or error}")
        return EXIT_CANNOT_START
    except StoreError as error:
        complain(str(error))
        return EXIT_CANNOT_START
    except ConfigError as error:
        complain(str(error))
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


def tune_collector() -> None:
    """Have the garbage collector look at what is new, and hardly ever at what has stayed.

    Messages, subscriptions and connections are many objects that form no cycles once they are gone,
    and what does is found while it is new. Looking at all that waits takes most of a second for a
    million objects, in which the broker does nothing else; so that comes after a hundred million.
    Measured with benchmarks/collector.py: filling a queue takes a quarter less processor time.

    What is new is looked at often, a little each time: a new list may hold a hundred messages that
    waited for long, and to look at each of them takes longer than all else.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, _UNTIL_OLD // YOUNG, 1)


def _allow_many_files() -> None:
    """Take as many open files as the system allows: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
