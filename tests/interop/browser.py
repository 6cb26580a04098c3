"""A headless Chromium, driven by its DevTools protocol; a test is skipped where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--remote-debugging-port=0",
)
PATIENCE = 20.0
"""Seconds after which something that should have happened counts as not happening."""


class Page:
    """One page of the browser."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._number = 0
        self._happened: set[str] = set()

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Ask the browser for something."""
        self._number += 1
        question = {"id": self._number, "method": method, "params": parameters}
        self._devtools.send(json.dumps(question))
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._devtools.recv(timeout=PATIENCE))
        self._happened.add(answer.get("method", ""))
        return answer

    def open(self, url: str) -> None:
        """Go to a URL, and wait until all of it is there."""
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._happened:
            self._receive()
        self.call("Page.disable")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str, what: str) -> Any:
        """Wait for a JavaScript expression to be true; give its value."""
        return _until(
            lambda: self.evaluate(script), what, lambda: self.evaluate("document.body.innerText")
        )


def _until(condition: Callable[[], Any], what: str, seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen; seen: {seen()!r}"
        time.sleep(0.02)
    return value


@contextmanager
def chromium(profile: Path) -> Iterator[Callable[[str], Page]]:
    """A browser with a new profile.

    Yields:
        A function that opens a URL in a new page.
    """
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    process = subprocess.Popen(
        [found, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(profile)},
    )
    devtools = ExitStack()

    def port() -> str:
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        file = profile / "DevToolsActivePort"
        lines = file.read_text().split("\n") if file.exists() else []
        return lines[0] if len(lines) > 1 else ""

    def open_page(url: str) -> Page:
        place = f"ws://127.0.0.1:{_until(port, 'the start of Chromium', str)}"
        browser = Page(_connection(f"{place}{_browser_path(profile)}"))
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(_connection(f"{place}/devtools/page/{target}"))
        page.open(url)
        return page

    def _connection(url: str) -> ClientConnection:
        return devtools.enter_context(connect(url, max_size=None))

    try:
        yield open_page
    finally:
        devtools.close()
        process.terminate()
        process.wait(PATIENCE)


def _browser_path(profile: Path) -> str:
    return (profile / "DevToolsActivePort").read_text().split("\n")[1]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server for a folder; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, name="web server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
