"""The example page, in a real browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.interop.browser import Page, chromium, served
from tests.interop.node_client import INSTALL_TIMEOUT, NodeClients
from tests.support.wire import cheap_hash, fast_config

import stompy
import stompy_broker
from stompy_broker import RunningBroker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(INSTALL_TIMEOUT + 60)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
CONNECTED = "document.getElementById('state').dataset.state == 'connected'"
TEXT = "Grüße aus Zürich \N{SNOWMAN} <b>no HTML</b>"


@pytest.fixture
def site(tmp_path: Path, node_clients: NodeClients) -> Iterator[str]:
    folder = tmp_path / "site"
    shutil.copytree(EXAMPLE, folder)
    modules = node_clients.folder / "node_modules"
    shutil.copy(modules / "@stomp" / "stompjs" / "bundles" / "stomp.umd.min.js", folder)
    with served(folder) as url:
        yield url


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Callable[[str], Page]]:
    with chromium(tmp_path / "profile") as open_page:
        yield open_page


def ws(broker: RunningBroker) -> str:
    return next(url for url in broker.urls if url.startswith("ws:"))


def page_url(site: str, broker: RunningBroker, **more: str) -> str:
    return f"{site}/?{urlencode({'url': ws(broker), **more})}"


def messages(page: Page, count: int) -> list[str]:
    items = "[...document.querySelectorAll('li')].map(item => item.textContent)"
    page.until(f"{items}.length >= {count}", f"the arrival of {count} messages")
    return list(page.evaluate(items))


def test_a_page_sends_and_receives(
    broker: RunningBroker, site: str, open_page: Callable[[str], Page]
) -> None:
    first, second = (open_page(page_url(site, broker)) for _ in range(2))
    for page in (first, second):
        page.until(CONNECTED, "CONNECTED")
    with stompy.connect(broker.url) as client:
        client.subscribe("/topic/hello")
        for page in (first, second):
            page.evaluate(
                f"document.querySelector('input').value = {json.dumps(TEXT)};"
                "document.querySelector('button').click()"
            )
            got = client.recv(timeout=10)
            assert got is not None
            assert got.text == TEXT
            # Its own message came back, so it is subscribed.
            assert messages(page, 1)[-1] == TEXT
        client.message("/topic/hello", "from Python")
        for page, before in ((first, 2), (second, 1)):
            assert messages(page, before + 1)[-2:] == [TEXT, "from Python"]
        assert first.evaluate("document.querySelectorAll('li b').length") == 0


def test_a_page_is_told_why_it_is_refused(site: str, open_page: Callable[[str], Page]) -> None:
    with stompy_broker.running(fast_config(users={"ann": cheap_hash("a")})) as broker:
        page = open_page(page_url(site, broker))
        page.until(
            "document.getElementById('state').textContent.startsWith('this broker needs a login')",
            "the refusal",
        )


def test_a_page_from_elsewhere_may_not_connect(site: str, open_page: Callable[[str], Page]) -> None:
    config = fast_config(websocket={"allowed_origins": ["https://app.example"]})
    with stompy_broker.running(config) as broker:
        page = open_page(f"{site}/README.md")
        outcome = page.evaluate(
            f"new Promise(done => {{ const s = new WebSocket({json.dumps(ws(broker))});"
            "s.onopen = () => done('open'); s.onclose = (e) => done(e.code); })"
        )
        assert outcome == 1006


def test_a_clean_end(broker: RunningBroker, site: str, open_page: Callable[[str], Page]) -> None:
    """The receipt of DISCONNECT comes first, and the browser takes the close for clean."""
    page = open_page(f"{site}/README.md")
    outcome = page.evaluate(
        f"""new Promise(done => {{
            const s = new WebSocket({json.dumps(ws(broker))}, ['v12.stomp']), heard = [];
            s.onopen = () => s.send('CONNECT\\naccept-version:1.2\\nhost:/\\n\\n\\0'
                                    + 'DISCONNECT\\nreceipt:bye\\n\\n\\0');
            s.onmessage = (event) => heard.push(event.data.split('\\n')[0]);
            s.onclose = (event) => done([s.protocol, heard, event.code, event.wasClean]);
        }})"""
    )
    assert outcome == ["v12.stomp", ["CONNECTED", "RECEIPT"], 1000, True]
