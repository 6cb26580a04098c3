"""What goes over a connection, for who wants to see or to mark it. Pure.

At level DEBUG the logger ``stompy.frames`` has a line for each frame: command, headers without
secrets, and the size of the body. Whether it does is looked up when a connection is made, so that
frames cost nothing where nobody looks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from stompy.protocol.frame import STOMPFrame
from stompy.session.callbacks import check_done
from stompy.session.commands import as_text

logger = logging.getLogger("stompy.frames")

_SECRETS = frozenset(
    (
        "auth",
        "authorization",
        "cookie",
        "credentials",
        "key",
        "login",
        "passcode",
        "password",
        "secret",
        "token",
    )
)
"""Words in the name of a header whose value stays out of logs, the application's own included."""

_NO_SECRETS = frozenset(("x-dead-letter-routing-key",))


class Trace:
    """Looks at the frames of one connection.

    Args:
        on_send: gets each SEND before it is written, and may change its headers.
        shown: whether frames are logged.
    """

    def __init__(self, on_send: Callable[[STOMPFrame], object] | None, *, shown: bool) -> None:
        self._on_send = on_send
        self._shown = shown

    def sending(
        self, command: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Mapping[str, str], bytes]:
        """Look at a frame that is about to be written; give its headers and body as they are then.

        Raises:
            Exception: what the hook raises; the frame is not sent.
            TypeError: the hook is none, or has set a header that is neither text nor a number.
        """
        frame = STOMPFrame(command, body, dict(headers))
        if self._on_send is not None and command == "SEND":
            check_done(self._on_send(frame), self._on_send)
            headers, body = as_text({**frame.Headers}), frame.Body
        if self._shown:
            logger.debug(">>> %s", _line(frame))
        return headers, body

    def received(self, frames: Iterable[STOMPFrame]) -> None:
        """Log frames that were read."""
        if self._shown:
            for frame in frames:
                logger.debug("<<< %s", _line(frame))


def trace_for(on_send: Callable[[STOMPFrame], object] | None) -> Trace | None:
    """Make a trace, if anybody wants one at this moment."""
    shown = logger.isEnabledFor(logging.DEBUG)
    return Trace(on_send, shown=shown) if shown or on_send is not None else None


def _line(frame: STOMPFrame) -> str:
    """One line, whatever is in the frame."""
    headers = "".join(
        f" {name}:{value}" if (name + value).isprintable() else f" {name!r}:{value!r}"
        for name, value in _shown(frame._shown_headers())
    )
    return f"{frame.Command}{headers} body:{len(frame.Body)}B"


def _shown(headers: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for name, value in headers.items():
        words = name.lower().replace("_", "-").replace(".", "-").split("-")
        hidden = not _SECRETS.isdisjoint(words) and name not in _NO_SECRETS
        yield name, "***" if hidden else value
