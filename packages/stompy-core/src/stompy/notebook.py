"""What notebooks show of frames and counters: HTML. Pure, and imported only when one asks.

Whoever can send a message decides what is shown, so it holds that

* text is made `visible` and escaped; nothing in it is markup, a link, a script or a formula,
* nothing is larger than the bounds below, whatever was sent.

Whose values are secret the caller knows. Colours are those of the notebook where it names them, and
otherwise of the page around it, so both light and dark pages can be read.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

MAX_ROWS = 20
MAX_HEADERS = 40
MAX_CELL = 120
MAX_BODY = 2048
MAX_HEX = 256
_MAX_JSON = 65536

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_STACKED = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{3})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+"
)
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})

_FAINT = "color:var(--jp-ui-font-color2,inherit);opacity:.8"
_LINE = "border-bottom:1px solid var(--jp-border-color2,rgba(128,128,128,.4))"
_CELL = "padding:.15em .8em .15em 0;text-align:left;vertical-align:top"
_NUMBER = "padding:.15em .8em .15em 0;text-align:right;vertical-align:top"
_TABLE = "border-collapse:collapse;border:none;margin:0;width:auto;font-size:90%"
_BODY = (
    "margin:.3em 0;padding:.4em .6em;max-height:20em;overflow:auto;white-space:pre-wrap;"
    "overflow-wrap:anywhere;background:rgba(128,128,128,.1);color:inherit;font-size:90%"
)


class DataclassLike(Protocol):
    """What every dataclass has."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def visible(text: str, *, lines: bool = False) -> str:
    """Text in which nothing is hidden: control characters become pictures or ``[U+202E]``.

    Args:
        text: what somebody sent.
        lines: whether line breaks and tabs stay what they are.
    """

    def picture(found: re.Match[str]) -> str:
        character = found[0]
        code = ord(character)
        if lines and character in "\n\t":
            return character
        if code < 0x20:  # noqa: PLR2004 -- C0, which has pictures
            return chr(0x2400 + code)
        if "\ud800" <= character <= "\udfff":
            return "\ufffd"
        return "\u2421" if character == "\x7f" else f"[U+{code:04X}]"

    return _STACKED.sub(r"\1", _HIDDEN.sub(picture, text))


def escaped(text: str, limit: int = MAX_CELL, *, lines: bool = False) -> str:
    """The beginning of a text, visible, as it may stand in HTML."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return visible(shown, lines=lines).translate(_MARKUP)


# -- frames ------------------------------------------------------------------------------------


def frame_html(command: str, headers: Mapping[str, str], body: bytes) -> str:
    """A frame: its command, its headers and what its body seems to be."""
    rows = [
        f'<tr><td style="{_CELL};{_FAINT}">{escaped(name)}</td>'
        f'<td style="{_CELL}">{escaped(value)}</td></tr>'
        for name, value in list(headers.items())[:MAX_HEADERS]
    ]
    if len(headers) > MAX_HEADERS:
        rows.append(_more(len(headers) - MAX_HEADERS, 2))
    kind, text = body_text(body)
    note = (
        f'<div style="{_FAINT};font-size:80%">body: {len(body):,} bytes{kind and ", "}{kind}</div>'
    )
    shown = f'<pre style="{_BODY}">{text}</pre>' if text else ""
    return _framed(
        f'<strong>{escaped(command)}</strong><table style="{_TABLE}">{"".join(rows)}</table>'
        f"{note}{shown}"
    )


def body_text(body: bytes) -> tuple[str, str]:
    """A word for what a body seems to be, and its beginning as it may stand in HTML."""
    if not body:
        return "", ""
    text = _as_text(body[:_MAX_JSON])
    if text is None:
        return "binary", escaped(_hex_dump(body[:MAX_HEX]), MAX_BODY * 2, lines=True)
    pretty = _as_json(text) if len(body) <= _MAX_JSON else None
    kind = "text" if pretty is None else "JSON"
    return kind, escaped(text if pretty is None else pretty, MAX_BODY, lines=True)


def _as_text(body: bytes) -> str | None:
    """The body if it is UTF-8 without the control characters that only binary data has."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return None if error.start < MAX_BODY else body[: error.start].decode()
    return None if re.search("[\x00-\x08\x0e-\x1a\x1c-\x1f]", text[:MAX_BODY]) else text


def _as_json(text: str) -> str | None:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _hex_dump(data: bytes) -> str:
    lines = (data[start : start + 16] for start in range(0, len(data), 16))
    return "\n".join(
        f"{line.hex(' '):<48} {re.sub(rb'[^ -~]', b'.', line).decode()}" for line in lines
    )


# -- rows --------------------------------------------------------------------------------------


def table_html(rows: Sequence[DataclassLike]) -> str:
    """Dataclasses of one kind as a table, at most `MAX_ROWS` of them.

    Columns in which nothing stands are left out.
    """
    if not rows:
        return _framed(f'<span style="{_FAINT}">none</span>')
    names = [field.name for field in dataclasses.fields(rows[0])]
    filled = [name for name in names if any(_says_something(getattr(row, name)) for row in rows)]
    names = filled or names
    shown = [[getattr(row, name) for name in names] for row in rows[:MAX_ROWS]]
    return _grid(names, shown, len(rows))


def grid_html(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows of values under the names of their columns, at most `MAX_ROWS` of them."""
    return _grid(names, rows[:MAX_ROWS], len(rows))


def _grid(names: Sequence[str], shown: Sequence[Sequence[object]], total: int) -> str:
    head = "".join(f'<th style="{_CELL};{_FAINT}">{_words(name)}</th>' for name in names)
    lines = [
        f"<tr>{''.join(_cell(name, value) for name, value in zip(names, row, strict=True))}</tr>"
        for row in shown
    ]
    if total > len(shown):
        lines.append(_more(total - len(shown), len(names)))
    return _framed(
        f'<table style="{_TABLE}"><thead><tr style="{_LINE}">{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _says_something(value: object) -> bool:
    return not (value is None or value is False or value in ("", ()))


def record_html(title: str, record: DataclassLike) -> str:
    """One dataclass as a list of its fields."""
    names = (field.name for field in dataclasses.fields(record))
    return titled_html(title, ((name, getattr(record, name)) for name in names))


def titled_html(title: str, pairs: Iterable[tuple[str, object]] = (), below: str = "") -> str:
    """A title, names with values, and HTML of ours that follows."""
    lines = "".join(
        f'<tr><td style="{_CELL};{_FAINT}">{_words(name)}</td>'
        f'<td style="{_CELL}">{_value(name, value)}</td></tr>'
        for name, value in pairs
        if _says_something(value)
    )
    table = f'<table style="{_TABLE}">{lines}</table>' if lines else ""
    return _framed(f"<strong>{escaped(title)}</strong>{table}{below}")


def _cell(name: str, value: object) -> str:
    style = _NUMBER if isinstance(value, int | float) and not name.endswith("_at") else _CELL
    return f'<td style="{style}">{_value(name, value)}</td>'


def _value(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, int):
        return _time(value)
    return escaped(_text(value))


def _time(milliseconds: int) -> str:
    try:
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(milliseconds)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, tuple | list):
        return "; ".join(map(_text, value[:MAX_ROWS]))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        told = ((name, inner) for name, inner in value.items() if _says_something(inner))
        return ", ".join(f"{name} {_text(inner)}" for name, inner in told)
    return str(value)


def _words(name: str) -> str:
    return escaped(name.replace("_", " "))


def _more(count: int, columns: int) -> str:
    return f'<tr><td colspan="{columns}" style="{_CELL};{_FAINT}">… and {count:,} more</td></tr>'


def _framed(content: str) -> str:
    # The two classes keep MathJax from taking what is between dollars for a formula.
    return (
        '<div class="stompy tex2jax_ignore mathjax_ignore" '
        f'style="overflow-x:auto;max-width:100%">{content}</div>'
    )
