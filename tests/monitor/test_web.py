"""The dashboard in a browser: who is let in, and that it is there."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

import pytest
from tests.support.dashboard import on_a_loop

from stompy_broker import running
from stompy_monitor.web import address, command_line, names_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def get(url: str, **headers: str) -> tuple[int, Message, str]:
    """Status, headers and body of an answer."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address that the command prints."""
    with running() as broker, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "stompy_monitor", broker.url, "--web", str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line.startswith("stompy-monitor serving http://127.0.0.1:")
                yield line.split()[-1]
            finally:
                process.terminate()
                assert process.wait(10) == 0


def test_the_token_opens_and_becomes_a_cookie(served: str) -> None:
    status, headers, _ = get(served)
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    base = served.partition("?")[0]
    status, headers, body = get(base, Cookie=cookie.partition(";")[0])
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "stompy-monitor" in body


@pytest.mark.parametrize("path", ["", "ws", "static/js/textual.js", "?token=wrong"])
def test_without_the_token_nothing_is_there(served: str, path: str) -> None:
    status, _, body = get(served.partition("?")[0] + path)
    assert status == 403
    assert "token" in body


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_other_pages_and_other_names_are_refused(served: str, headers: dict[str, str]) -> None:
    token = served.partition("token=")[2]
    for path in ("", "ws"):
        url = served.partition("?")[0] + path
        status, _, _ = get(f"{url}?token={token}", Cookie=f"stompy-monitor={token}", **headers)
        assert status == 403


def test_what_each_browser_gets_holds_no_secret_and_does_nothing() -> None:
    look = {"view": "queues", "filter": "a b", "ascii_only": True}
    assert command_line(look, write=False).endswith(
        "-m stompy_monitor --view queues --filter 'a b' --ascii --read-only"
    )
    assert "--read-only" not in command_line({}, write=True)
    assert address("8000") == ("127.0.0.1", 8000)
    assert address("0.0.0.0:1") == ("0.0.0.0", 1)
    assert "localhost:80" in names_of("127.0.0.1", 80)
    assert names_of("example.org", 80) == {"example.org:80"}
    with pytest.raises(ValueError, match="PORT"):
        address("host")


@contextmanager
def chromium(folder: Path) -> Iterator[str]:
    """A headless browser; the address of its DevTools."""
    assert CHROMIUM
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={folder}", "--window-size=1400,900", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("DevTools listening on ws://"):
                    yield line.split("ws://")[1].split("/")[0]
                    break
        finally:
            process.kill()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@on_a_loop
async def test_a_browser_shows_it(served: str, tmp_path: Path) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    with chromium(tmp_path) as devtools:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{devtools}/json/list") as answer:
                (page, *_) = [t for t in await answer.json() if t["type"] == "page"]
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                numbers = iter(range(1, 10_000))

                async def ask(method: str, **params: object) -> dict[str, object]:
                    number = next(numbers)
                    await socket.send_json({"id": number, "method": method, "params": params})
                    while True:
                        told = json.loads((await socket.receive()).data)
                        if told.get("id") == number:
                            return told["result"]

                await ask("Page.navigate", url=served)
                there = "document.body && document.body.classList.contains('-first-byte')"
                async with asyncio.timeout(60):
                    while True:
                        found = await ask("Runtime.evaluate", expression=there)
                        if found["result"].get("value") is True:
                            break
                        await asyncio.sleep(0.05)
                    picture = b""
                    while len(picture) < 40_000:  # an empty page has some 6,000 bytes
                        shot = await ask("Page.captureScreenshot")
                        picture = base64.b64decode(shot["data"])
        assert picture.startswith(b"\x89PNG")
