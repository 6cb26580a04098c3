"""Foreign text made harmless, once, at the door of the model.

Names, headers and bodies come from clients, so from anybody. Textual and terminals hand escape
sequences through, some characters reverse what stands beside them, others have no width at all.
What leaves `safe` has none of that: every character shows itself, and the width is bounded.
Never parse such text as markup.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len

NAME_CELLS = 1024
"""How wide a name may be; what is longer is cut."""

_PICTURES = 0x2400  # the Unicode block with a picture of each C0 control
_DELETE = 0x7F
_VARIATION = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_MARKS_IN_A_ROW = 3


def safe(text: str, cells: int = NAME_CELLS) -> str:
    """One line of harmless text, at most so many cells wide.

    Line breaks become pictures like every other control character. Idempotent.

    Args:
        text: what somebody else wrote.
        cells: the widest that it may be; an ellipsis tells of a cut.
    """
    if text.isascii() and text.isprintable():
        return text if len(text) <= cells else _cut(text, cells)
    shown = "".join(map(_visible, _VARIATION.sub(_varied, text)))
    return _cut(_without_towers(shown), cells)


def safe_lines(text: str, cells: int = NAME_CELLS) -> list[str]:
    """Harmless lines of a body: tabs become blanks, and lines break where the text says so."""
    return [safe(line.expandtabs(4), cells) for line in re.split(r"\r\n|\n|\r", text)]


def safe_value(value: object) -> object:
    """A JSON value with every text in it, keys as well, made harmless."""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, list):
        return [safe_value(item) for item in value]
    if isinstance(value, dict):
        return {safe(str(name)): safe_value(item) for name, item in value.items()}
    return value


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if code < ord(" "):
        return chr(_PICTURES + code)
    if code == _DELETE:
        return "\N{SYMBOL FOR DELETE}"
    if "\ud800" <= char <= "\udfff":
        return "\N{REPLACEMENT CHARACTER}"
    if unicodedata.category(char) == "Zs":
        return " "
    return _code(char)


def _code(char: str) -> str:
    return f"‹U+{ord(char):04X}›"


def _varied(found: re.Match[str]) -> str:
    """A variation selector: signs such as ♥ look alike with and without; a name must not."""
    before = found.string[found.start() - 1 : found.start()]
    return "" if before and unicodedata.category(before).startswith("S") else _code(found[0])


def _without_towers(text: str) -> str:
    """A few combining marks on one character: more would climb into other lines, and are told."""
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char).startswith("M") else 0
        kept.append(char if marks <= _MARKS_IN_A_ROW else _code(char))
    return "".join(kept)


def _cut(text: str, cells: int) -> str:
    if cell_len(text) <= cells:
        return text
    kept: list[str] = []
    room = cells - 1
    for char in text:
        room -= cell_len(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + "…"
