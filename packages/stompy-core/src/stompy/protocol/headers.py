r"""Header names and values on the wire: what each version escapes, and what it cannot carry.

==========  ==========================  ==========================================
version     escape sequences            end of line
==========  ==========================  ==========================================
1.0         none                        LF; blanks round names and values go
1.1         ``\n`` ``\c`` ``\\``        LF
1.2         ``\n`` ``\c`` ``\\`` ``\r``  LF or CR LF
==========  ==========================  ==========================================

A frame of 1.0 or 1.1 that ends its command with CR LF is taken to end all its lines like that.

STOMP 1.1 and 1.2, *Value Encoding*: an undefined sequence is a fatal protocol error; CONNECT and
CONNECTED are never escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.version import ALL_VERSIONS, V1_0, V1_1, V1_2, Version

__all__ = [
    "ALL_VERSIONS",
    "BODY_COMMANDS",
    "OPENING_RULES",
    "RULES",
    "UNESCAPED_COMMANDS",
    "V1_0",
    "V1_1",
    "V1_2",
    "Version",
    "WireRules",
    "as_given",
    "escape",
    "header_lines",
    "is_writable",
    "rules_of",
    "unescape",
]

UNESCAPED_COMMANDS: Final = frozenset(("CONNECT", "STOMP", "CONNECTED"))
BODY_COMMANDS: Final = frozenset(("SEND", "MESSAGE", "ERROR"))


@dataclass(frozen=True, slots=True)
class WireRules:
    """How one version writes headers."""

    version: Version | None
    decode: Mapping[str, str]
    """Escape sequence to character."""
    encode: Mapping[int, str]
    """Character to escape sequence, as a table for `str.translate`."""
    crlf: bool
    """Whether CR LF ends a line, whatever the others end with."""
    trims: bool
    """Whether blanks round names and values are dropped."""

    def __reduce__(self) -> tuple[Callable[[Version | None], WireRules], tuple[Version | None]]:
        """Copy and pickle it by its version: the compiled form cannot fill a frozen object."""
        return rules_of, (self.version,)


_ESCAPES_1_1 = {"\\\\": "\\", "\\n": "\n", "\\c": ":"}
_ESCAPES_1_2 = _ESCAPES_1_1 | {"\\r": "\r"}


def _encode_table(escapes: Mapping[str, str]) -> dict[int, str]:
    return {ord(character): sequence for sequence, character in escapes.items()}


OPENING_RULES = WireRules(None, {}, {}, crlf=True, trims=False)
"""For CONNECT, which is read before the version is known."""

RULES: Mapping[Version, WireRules] = {
    # 1.0 has no escapes. A line break cannot be written at all: it becomes the two characters
    # of the later escape, so that it never turns into a header line of its own.
    Version.V1_0: WireRules(
        Version.V1_0, {}, {ord("\n"): "\\n", ord("\r"): "\\r"}, crlf=False, trims=True
    ),
    Version.V1_1: WireRules(
        Version.V1_1, _ESCAPES_1_1, _encode_table(_ESCAPES_1_1), crlf=False, trims=False
    ),
    Version.V1_2: WireRules(
        Version.V1_2, _ESCAPES_1_2, _encode_table(_ESCAPES_1_2), crlf=True, trims=False
    ),
}


def rules_of(version: Version | None) -> WireRules:
    """Find the rules of a version; of none, those for CONNECT."""
    return OPENING_RULES if version is None else RULES[version]


_SEQUENCE = re.compile(r"\\.?", re.DOTALL)


def unescape(text: str, rules: WireRules) -> str:
    """Decode the escape sequences of a header name or value.

    Raises:
        ProtocolError: a sequence that the version does not define.
    """
    if "\\" not in text or not rules.decode:
        return text

    def decoded(match: re.Match[str]) -> str:
        sequence = match.group()
        character = rules.decode.get(sequence)
        if character is None:
            raise ProtocolError(
                ErrorCode.BAD_ESCAPE,
                f"{sequence!r} is no escape sequence of STOMP {rules.version}",
            )
        return character

    return _SEQUENCE.sub(decoded, text)


def escape(text: str, version: Version) -> str:
    """Write a header name or value for a version, losing what that version cannot carry.

    A CR at the end of a 1.1 value would join the LF that ends the line, so it is dropped.
    """
    escaped = text.translate(RULES[version].encode)
    return escaped.rstrip("\r") if version is V1_1 else escaped


def is_writable(name: str, value: str, version: Version) -> bool:
    """Whether a version can carry this header so that the reader gets the same text back."""
    if version is V1_2:
        return bool(name)
    if version is V1_1:
        return bool(name) and not (name + value).endswith("\r") and not name.endswith("\r")
    plain = not any(mark in name or mark in value for mark in "\r\n")
    return plain and ":" not in name and name == name.strip() != "" and value == value.strip()


def header_lines(headers: Mapping[str, str], version: Version) -> str:
    """All header lines, each ended by LF, for a frame other than CONNECT and CONNECTED.

    Headers that the version cannot name are left out: 1.0 has no colons or line breaks in names
    and trims them, 1.1 loses the CR at the end of one, and nothing is no name.
    """
    if version is not V1_0:
        try:
            lines = "".join([f"{name}:{value}\n" for name, value in headers.items()])
        except TypeError:  # the compiled form: numbers are no text (`as_given` for all costs 8 %)
            headers = {str(name): str(value) for name, value in as_given(headers).items()}
            lines = "".join([f"{name}:{value}\n" for name, value in headers.items()])
        # Mostly there is nothing to escape: no more colons and line breaks than we wrote ourselves.
        n = len(headers)
        if lines.count(":") == n == lines.count("\n") and "\\" not in lines and "\r" not in lines:
            return lines
    texts = [(str(name), str(value)) for name, value in as_given(headers).items()]
    if version is V1_0:
        return "".join(
            f"{name}:{escape(value, version)}\n"
            for name, value in texts
            if ":" not in name and "\n" not in name and "\r" not in name and name.strip()
        )
    return "".join(
        [
            f"{escape(name, version)}:{escape(value, version)}\n"
            for name, value in texts
            if name.strip("\r") or version is V1_2
        ]
    )


def as_given(headers: Mapping[str, str]) -> Mapping[object, object]:
    """The same headers, for who writes numbers, too; compiled, a ``str`` would have to be one."""
    return cast("Mapping[object, object]", headers)
