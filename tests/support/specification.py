"""The sections of the three specifications, and who cites one."""

from __future__ import annotations

import re

_SHARED = """
    Augmented BNF, SEND, SUBSCRIBE, UNSUBSCRIBE, BEGIN, COMMIT, ACK, ABORT, DISCONNECT,
    Standard Headers, Server Frames, MESSAGE, RECEIPT, ERROR
"""
_SINCE_1_1 = """
    Abstract, Overview, Background, Protocol Overview, Changes in the Protocol, Design Philosophy,
    Conformance, STOMP Frames, Value Encoding, Size Limits, Repeated Header Entries, Connecting,
    CONNECT or STOMP Frame, CONNECTED Frame, Protocol Negotiation, Client Frames,
    SUBSCRIBE id Header, SUBSCRIBE ack Header, NACK, Header content-length, Header content-type,
    Header receipt, Heart-beating
"""


def _names(*lists: str) -> set[str]:
    return {" ".join(name.split()) for names in lists for name in names.split(",")}


SECTIONS = {
    "1.0": _names(_SHARED, "Stomp Protocol Specification, Client Commands, Receipt"),
    "1.1": _names(_SHARED, _SINCE_1_1, "Once Connected"),
    "1.2": _names(_SHARED, _SINCE_1_1, "Body, Connection Lingering, Frames and Headers"),
}

_CITED = re.compile(r"\b(?P<versions>1\.[012](?:(?:, | and )1\.[012])*),? \*(?P<section>[^*]+)\*")


def cited(text: str) -> list[tuple[str, str]]:
    """The versions and sections that a text names, as in ``1.1, 1.2 *Value Encoding*``."""
    return [
        (version, found["section"])
        for found in _CITED.finditer(" ".join(text.split()))
        for version in re.findall(r"1\.[012]", found["versions"])
    ]


def strangers(text: str) -> list[tuple[str, str]]:
    """Those of them that are not there."""
    return [(version, name) for version, name in cited(text) if name not in SECTIONS[version]]
