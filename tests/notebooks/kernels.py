"""A kernel in which notebooks are executed, and what it leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import nbformat
import psutil
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

CELL_SECONDS = 60
CACHE = Path(__file__).parents[2] / "docs" / "_build" / "jupyter_cache"
"""Where the manual looks for notebooks that were executed already; see docs/conf.py."""

_MARK = "STOMPY_TEST_OF_NOTEBOOKS"


class Kernel:
    """A kernel with a directory for temporary files of its own.

    Every process that it starts inherits a mark, so that one is found also when it has lost its
    parent.
    """

    def __init__(self, directory: Path) -> None:
        self.work = directory / "work"
        self.temporary = directory / "temporary"
        self.work.mkdir()
        self.temporary.mkdir()
        self._mark = uuid4().hex
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(
            cwd=str(self.work),
            env=os.environ | {_MARK: self._mark, "TMPDIR": str(self.temporary)},
        )
        self._settle()

    def run(self, notebook: nbformat.NotebookNode) -> None:
        """Execute all cells; an exception in one is raised."""
        client = NotebookClient(
            notebook, km=self._manager, timeout=CELL_SECONDS, record_timing=False
        )
        try:
            client.execute()
        finally:
            if client.kc is not None:
                client.kc.stop_channels()

    def run_some(self, notebook: nbformat.NotebookNode, last: str) -> None:
        """Execute the cells until the one with that id."""
        end = [cell.id for cell in notebook.cells].index(last) + 1
        self.run(nbformat.from_dict({**notebook, "cells": notebook.cells[:end]}))

    def restart(self) -> None:
        """Kill the kernel and start it again, as *Restart* does in a hurry."""
        self._manager.restart_kernel(now=True)
        self._settle()

    def _settle(self) -> None:
        """Wait until the kernel works; what it listens on by then is its own."""
        client = self._manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=CELL_SECONDS)
        finally:
            client.stop_channels()
        self._own_ports = self.listening()

    def interrupt_when_shown(self, source: str) -> tuple[str, list[str]]:
        """Run a cell, interrupt the kernel when it has shown and renewed something.

        Returns:
            The status of the cell, and the kinds of messages about its output.
        """
        client = self._manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=CELL_SECONDS)
            request = client.execute(source)
            kinds: list[str] = []
            while "update_display_data" not in kinds:
                kinds.append(client.get_iopub_msg(timeout=CELL_SECONDS)["msg_type"])
            self._manager.interrupt_kernel()
            while (reply := client.get_shell_msg(timeout=CELL_SECONDS)) is not None:
                if reply["parent_header"]["msg_id"] == request:
                    return reply["content"]["status"], kinds
        finally:
            client.stop_channels()
        raise AssertionError("the cell did not end")

    def close(self) -> None:
        """End the kernel."""
        self._manager.shutdown_kernel(now=False)
        self._manager.cleanup_resources()

    def processes(self) -> set[psutil.Process]:
        """The kernel, and all processes that began in it and still live."""
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark:
                    found.add(process)
        return found

    def listening(self) -> set[int]:
        """The ports on which any of them listens."""
        ports: set[int] = set()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                ports |= {
                    connection.laddr.port
                    for connection in process.net_connections("tcp")
                    if connection.status == psutil.CONN_LISTEN
                }
        return ports

    def left_behind(self) -> list[object]:
        """What a notebook that ended has left: processes, ports, files."""
        kernel = psutil.Process(self.pid)
        return [
            *(self.processes() - {kernel}),
            *(self.listening() - self._own_ports),
            *self.temporary.iterdir(),
            *self.work.iterdir(),
        ]

    @property
    def pid(self) -> int:
        """The process id of the kernel itself."""
        assert self._manager.provisioner is not None
        return self._manager.provisioner.pid


def remember(notebook: nbformat.NotebookNode, name: str) -> None:
    """Keep an executed notebook for the manual, which then need not execute it once more."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes run tests
        cache = get_cache(CACHE)
        cache.cache_notebook_bundle(CacheBundleIn(notebook, name), overwrite=True)
        cache.db.dispose()


@contextlib.contextmanager
def kernel(directory: Path) -> Iterator[Kernel]:
    """A kernel, ended after use."""
    running = Kernel(directory)
    try:
        yield running
    finally:
        running.close()
