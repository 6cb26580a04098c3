"""What every foreign client sends in the same way: bodies, headers, waiting."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from stompy_broker import BrokerConfig, load_config

VERSIONS = ("1.0", "1.1", "1.2")

TEXT = "Grüße, 世界: naïve café \N{RABBIT}\nsecond line\n"
BINARY = b"\0" + bytes(range(256)) * 4 + b"\n\n\0\0"
LARGE = b"0123456789abcdef" * (5 * 1024 * 1024 // 16)
LARGE_DIGEST = hashlib.sha256(LARGE).hexdigest()

_PLAIN = {"colon": "a:b::c", "empty": "", "unicode": "ключ €", "backslash": "C:\\temp"}

HEADERS = {
    "1.0": _PLAIN,
    "1.1": _PLAIN | {"newline": "one\ntwo\n", "looks-escaped": "\\n\\c\\\\", "padded": "  x "},
    "1.2": _PLAIN
    | {
        "newline": "one\ntwo\n",
        "carriage-return": "one\r\ntwo\r",
        "looks-escaped": "\\n\\c\\r\\\\",
        "padded": "  x ",
    },
}
"""Header values by version that this version carries unharmed."""

BEAT = 0.3
"""Seconds between heart-beats."""

IDLE = 1.6
"""Seconds to say nothing: longer than the broker's patience of `BEAT` and one second."""


def beating_config() -> BrokerConfig:
    """A broker on a free port that beats, and wants beats, every `BEAT` seconds."""
    beat = int(BEAT * 1000)
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "times": {"heart_beat": (beat, beat)}}
    return load_config(overrides=settings)


def wait_until(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    """Whether a condition comes true within some seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
