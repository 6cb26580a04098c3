"""How large a frame may be. Checked while bytes arrive, before anything is allocated for them.

STOMP 1.2, *Size Limits*: a server may limit the number of headers, the length of header lines and
the size of a body; on excess it sends ERROR and closes the connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

MOST = 1024 * 1024 * 1024
"""The largest limit that a client takes from a broker."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_TOLD = {
    "limits-header-line": "header_line",
    "limits-header-count": "header_count",
    "limits-header-block": "header_block",
    "limits-body": "body",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for one frame; all sizes in bytes."""

    command: int = 32
    """Length of the command line."""
    header_line: int = 16 * 1024
    """Length of one header line as it stands on the wire."""
    header_count: int = 256
    """Number of header lines."""
    header_block: int = 1024 * 1024
    """Command and all header lines together."""
    body: int = 64 * 1024 * 1024
    """Length of the body."""

    def with_room(self) -> Limits:
        """What a receiver needs to take whatever a sender with these limits took.

        A broker adds headers of its own, and escapes double in another version.
        """
        return replace(
            self,
            header_line=2 * self.header_line,
            header_count=self.header_count + 64,
            header_block=2 * self.header_block,
        )

    def told(self) -> dict[str, str]:
        """Headers of CONNECTED that tell a client what it may send, and has to be able to take."""
        return {name: str(getattr(self, field)) for name, field in _TOLD.items()}

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> Limits:
        """What a CONNECTED frame tells; the default where it does not.

        A number beyond `MOST` is not believed: who means it gives ``limits`` to `connect`.
        """
        told = {
            field: int(headers[name])
            for name, field in _TOLD.items()
            if re.fullmatch(_NUMBER, headers.get(name, ""))
        }
        return cls(**{field: min(value, MOST) for field, value in told.items()})

    def before_login(self) -> Limits:
        """The far smaller bounds for a peer that has not logged in: 64 KiB for all headers."""
        return replace(
            self,
            header_block=min(self.header_block, 64 * 1024),
            body=min(self.body, 64 * 1024),
        )


DEFAULT_LIMITS = Limits()
