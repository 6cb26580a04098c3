"""How large a frame may be. Checked while bytes arrive, before anything is allocated for them.

STOMP 1.2, *Size Limits*: a server may limit the number of headers, the length of header lines and
the size of a body; on excess it sends ERROR and closes the connection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


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

    def before_login(self) -> Limits:
        """The far smaller bounds for a peer that has not logged in: 64 KiB for all headers."""
        return replace(
            self,
            header_block=min(self.header_block, 64 * 1024),
            body=min(self.body, 64 * 1024),
        )


DEFAULT_LIMITS = Limits()
