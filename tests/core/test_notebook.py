"""What notebooks show: everything that was sent, and nothing that was not meant to be seen."""

import json
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy import STOMPFrame
from stompy.admin import Kind, Page, QueueRow, Table
from stompy.notebook import MAX_BODY, MAX_ROWS, record_html, table_html, visible
from stompy.protocol.traffic import Traffic
from stompy.records import Rows
from stompy.session.health import ClientHealth, ConnectionState, SubscriptionHealth

HOSTILE = '</td><script>alert(1)</script><img src=x onerror="alert(1)">\'&amp; $\\alpha$'
ALLOWED = {"div", "table", "thead", "tbody", "tr", "td", "th", "pre", "strong", "span"}


@dataclass(frozen=True)
class Row:
    name: str
    ready: int
    rate: float = 0.5
    paused: bool = False
    policy: str | None = None


class Reading(HTMLParser):
    """What a browser would make of it: the elements, their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(html: str) -> Reading:
    page = Reading(html)
    assert page.tags <= ALLOWED
    assert page.attributes <= {"style", "class", "colspan"}
    assert page.open == []
    return page


def test_a_frame_shows_its_parts():
    frame = STOMPFrame("MESSAGE", '{"name": "Ada"}', {"destination": "/queue/q", "colour": "red"})
    text = checked(frame._repr_html_()).text
    assert text.startswith("MESSAGEdestination/queue/qcolourredbody: 15 bytes, JSON")
    assert json.loads(text.partition("JSON")[2]) == {"name": "Ada"}


def test_secrets_are_masked():
    html = STOMPFrame("CONNECT", b"", {"login": "ann", "passcode": "hunter2"})._repr_html_()
    assert "ann" not in html
    assert "hunter2" not in html
    assert "passcode" in html


def test_an_empty_frame_can_be_shown():
    assert checked(STOMPFrame()._repr_html_()).text == "body: 0 bytes"


@given(
    st.text(),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
)
def test_whatever_was_sent_it_is_our_markup_alone(command, headers, body):
    checked(STOMPFrame(command, body, headers)._repr_html_())


def test_markup_is_text():
    frame = STOMPFrame(HOSTILE, HOSTILE, {HOSTILE: HOSTILE})
    assert checked(frame._repr_html_()).text.count(HOSTILE) == 4
    page = checked(table_html([Row(HOSTILE, 1)]))
    assert HOSTILE in page.text
    assert HOSTILE in checked(record_html(HOSTILE, Row("q", 1))).text


def test_formulas_stay_text():
    assert 'class="stompy tex2jax_ignore mathjax_ignore"' in STOMPFrame("MESSAGE")._repr_html_()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a\x1b[31mb\x07", "a␛[31mb␇"),
        ("one\ntwo\tthree", "one␊two␉three"),
        ("\x7f\x85", "␡[U+0085]"),
        ("evil\u202egpj.exe", "evil[U+202E]gpj.exe"),
        ("in\u200bvisible\ufeff", "in[U+200B]visible[U+FEFF]"),
        ("\ud800", "\ufffd"),
        ("a" + "\u0301" * 50, "a" + "\u0301" * 3),
        ("Zürich 東京 \U0001f600", "Zürich 東京 \U0001f600"),
    ],
)
def test_what_is_hidden_becomes_visible(sent, shown):
    assert visible(sent) == shown


def test_lines_may_stay():
    assert visible("a\n\tb\r", lines=True) == "a\n\tb␍"


@pytest.mark.parametrize(
    ("body", "kind", "shown"),
    [
        (b"plain", "text", "plain"),
        (b'["a", 1]', "JSON", '[\n  "a",\n  1\n]'),
        (b"[1, 2", "text", "[1, 2"),
        (b"[" * 5000, "text", "[[["),
        (b"\x00\xff\x10A", "binary", "00 ff 10 41" + " " * 38 + "...A"),
        ("Grüße".encode("latin-1"), "binary", "47 72 fc df 65"),
    ],
)
def test_the_body_is_guessed(body, kind, shown):
    text = checked(STOMPFrame("MESSAGE", body)._repr_html_()).text
    assert f"bytes, {kind}" in text
    assert shown in text


@pytest.mark.parametrize("body", [b"x" * 10_000_000, "é".encode() * 100_000, bytes(10_000_000)])
def test_large_bodies_are_cut(body):
    html = STOMPFrame("MESSAGE", body)._repr_html_()
    assert f"{len(body):,} bytes" in html
    assert len(html) < 4 * MAX_BODY


def test_many_and_long_headers_are_cut():
    frame = STOMPFrame("MESSAGE", b"", {f"h{number}": "x" * 5000 for number in range(500)})
    html = frame._repr_html_()
    assert "… and 460 more" in html
    assert len(html) < 30_000


def test_rows_are_a_table():
    page = checked(table_html([Row("orders", 1200, 1234.5, True), Row("bills", 0)]))
    assert page.text == "namereadyratepausedorders1,2001,234.50yesbills00.50no"


def test_a_snapshot_shows_its_rows():
    row = QueueRow(name="<b>", ready=3, oldest_at=1795615202692)
    page = checked(row._repr_html_())
    assert page.text.startswith("QueueRowname<b>")
    assert "oldest at2026-11-25 14:00:02 UTC" in page.text
    table = Table(Kind.QUEUES)
    assert table.add(Page(Kind.QUEUES, "b", "x", 1, None, 1, 1, 1, 1000, 1, 1, 1, (row,)))
    assert "<b>" in checked(table._repr_html_()).text
    assert table.page is not None
    assert "<b>" in checked(table.page._repr_html_()).text


def test_a_time_that_is_none_is_shown_as_it_is():
    assert "99999999999999999999" in record_html("x", QueueRow(created_at=99999999999999999999))


def test_what_is_nested_is_told_in_words():
    row = QueueRow(name="q", rate={"in": 1.5, "out": 0.0, "ack": 0.0})
    assert "ratein 1.50, out 0.00, ack 0.00" in checked(record_html("x", row)).text
    health = SubscriptionHealth("s1", "/queue/q", True, 3, 0, 3, 0, 0, 0, None)
    nested = ClientHealth(
        ConnectionState.CONNECTED, "a", 1.0, None, 1, 0, None, 0, 0, 0, Traffic(), (health, health)
    )
    assert "id s1, destination /queue/q, active yes" in checked(nested._repr_html_()).text


def test_many_rows_are_cut():
    rows = Rows(Row(f"q{number}", number) for number in range(5000))
    page = checked(rows._repr_html_())
    assert page.text.endswith("… and 4,980 more")
    assert f"q{MAX_ROWS - 1}" in page.text
    assert f"q{MAX_ROWS}" not in page.text


def test_no_rows_say_so():
    assert checked(Rows()._repr_html_()).text == "none"


def test_rows_are_a_list_for_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(Rows([Row("orders", 2), Row("bills", 3)]))
    assert list(frame.columns) == ["name", "ready", "rate", "paused", "policy"]
    assert list(frame["ready"]) == [2, 3]


def test_header_names_are_offered():
    assert STOMPFrame("SEND", b"", {"a": "b"})._ipython_key_completions_() == ["a"]
