"""Bytes to frames and frames to bytes. Pure: no clock, no socket, no thread (**hot path**).

Reading is incremental, strict, bounded and linear in the input, however it is cut:

* What is searched is searched once. An unfinished head or body is kept together with the place
  up to which it was looked through; a body of known length is never looked through at all.
* An unfinished body is gathered where it will stay (`GatheredBody`): its bytes are copied once.
* `Limits` are checked while bytes arrive, before anything is allocated for them.
* Producers repeat their header blocks. A parsed block is remembered by its raw bytes in a
  `HeadCache`, shared by all connections of one version, so that a repeated block costs one
  dictionary look-up. Measured with ``benchmarks/codec.py``: 4 times as many frames a second.
* Brokers repeat all of a MESSAGE's headers but two; `MessageHeads` remembers the others.
* After CONNECT or CONNECTED the parser halts: the version that those frames settle decides how
  the next byte is to be read. `FrameParser.proceed` lets it go on.

Nobody outside the protocol modules needs this one; the broker reads `Head` objects from it
(`stompy.protocol.header_cache`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, cast

from stompy.compiler import mypyc_attr
from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.gathered_body import GatheredBody
from stompy.protocol.head_memory import HeadMemory
from stompy.protocol.header_cache import (
    ACK_RUN,
    FAST_BLOCK,
    Head,
    HeadCache,
    ack_run,
    plain_acks,
)
from stompy.protocol.headers import (
    BODY_COMMANDS,
    RULES,
    UNESCAPED_COMMANDS,
    Version,
    WireRules,
    as_given,
    header_lines,
    rules_of,
    unescape,
)
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.protocol.message_heads import MessageHeads

__all__ = [
    "ACK_RUN",
    "FrameParser",
    "Head",
    "HeadCache",
    "HeadMemory",
    "MessageHeads",
    "accept_any",
    "encode_frame",
    "plain_acks",
]

# Octets are looked for as numbers; `stompy.protocol.message_heads` says why.
# Compiled, a `Final` number is one; any other name of a module is looked up in a dictionary.
_NUL: Final = 0
_LF: Final = 10
_CR: Final = 13
_A: Final = 65
_BACKSLASH: Final = 92

_LONGEST_LENGTH: Final = 18  # digits

# The EOLs that may follow a frame (1.2, *STOMP Frames*), heart-beats included. A CR whose LF has
# not arrived yet is left for the head, which waits for its line's end.
_eols = cast(Callable[[bytes, int], "re.Match[bytes]"], re.compile(rb"(?:\n|\r\n)*+").match)


def _nothing_known(block: bytes) -> Head | None:
    return None


def accept_any(head: Head) -> None:
    """The check of a parser that takes every command."""


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class FrameParser:
    """Turns the bytes of one direction of one connection into heads and bodies.

    Args:
        limits: upper bounds for a frame.
        check: called once with each head that is not in the cache; raises `ProtocolError` to
            refuse it. Cached heads passed it before.
        version: the version of what follows; None when CONNECT or CONNECTED will settle it.
    """

    __slots__ = (
        "_body",
        "_check",
        "_halted",
        "_head",
        "_head_bytes",
        "_limits",
        "_lines",
        "_memory",
        "_messages",
        "_rules",
        "_scan",
        "_simple_block",
        "_takes_ack_runs",
        "_tolerant",
        "_unread",
        "failure",
        "pending",
    )

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        check: Callable[[Head], None] = accept_any,
        version: Version | None = None,
    ) -> None:
        self._check = check
        self._memory: HeadMemory | None = None
        self._takes_ack_runs = False
        self._messages: MessageHeads | None = None
        self._tolerant = False
        self._set_rules(rules_of(version), limits)
        self._halted = False
        self._unread = b""
        self.pending = 0
        """Bytes of the unfinished frame: of its head until that is whole, then of its body."""
        self._head_bytes = bytearray()  # of an unfinished head
        self._head: Head | None = None  # of an unfinished body
        self._body: GatheredBody | None = None
        self._scan = 0  # start of the line at which the search for the blank line goes on
        self._lines = 0
        self.failure: ProtocolError | None = None
        """Set when the input broke a rule; from then on nothing more is read."""

    def proceed(
        self,
        version: Version,
        limits: Limits,
        check: Callable[[Head], None] = accept_any,
        memory: HeadMemory | None = None,
        *,
        tolerant: bool = False,
    ) -> None:
        """Go on after CONNECT or CONNECTED with the version that was settled.

        Args:
            version: it.
            limits: bounds from now on.
            check: as for the constructor.
            memory: heads that are known need not be parsed. With a `HeadCache`, runs of plain
                ACKs are handed out together, as `ACK_RUN`.
            tolerant: whether octets in headers that are no UTF-8 pass through, as they do in 1.0.
        """
        self._tolerant = tolerant
        self._set_rules(RULES[version], limits)
        self._check = check
        self._memory = memory
        self._takes_ack_runs = isinstance(memory, HeadCache) and version is Version.V1_2
        self._messages = memory if isinstance(memory, MessageHeads) else None
        self._halted = False

    def _set_rules(self, rules: WireRules, limits: Limits) -> None:
        self._rules = rules
        self._limits = limits
        # Heads up to this size cannot break a limit on lines, so they are not looked at for it.
        self._simple_block = -1 if rules.trims else min(limits.header_line, limits.header_block)

    @property
    def halted(self) -> bool:
        """Whether the parser waits for `proceed`."""
        return self._halted

    @property
    def buffered(self) -> int:
        """How many bytes are held that have not become a frame."""
        return self.pending + len(self._unread)

    @property
    def missing(self) -> int:
        """How many bytes there are to come until an unfinished body ends, if its length is known.

        They are gathered and not looked at, so to take them is no work.
        """
        body = self._body
        return body.missing if body is not None else 0

    def feed(self, data: bytes) -> list[tuple[Head, bytes]]:
        """Take the next bytes; give the frames they complete, oldest first.

        Frames before a broken one are given as usual; then `failure` is set. After CONNECT or
        CONNECTED the rest is kept until `proceed`, and is read by the next call (with ``b""``).
        """
        frames: list[tuple[Head, bytes]] = []
        if self.failure is not None:
            return frames
        if self._halted:
            self._unread += data
            return frames
        if self._unread:
            data = self._unread + data
            self._unread = b""
        try:
            if self._head is not None:
                position = self._resume_body(data, frames)
                if position < 0:
                    return frames
            elif self.pending:
                position = 0
                data = self._resume_head(data)
            else:
                position = 0
            self._parse(data, position, frames)
        except ProtocolError as failure:
            # Without its traceback, whose frames hold this parser.
            self.failure = failure.with_traceback(None)
            failure.__context__ = None
            self._forget_unfinished()
        return frames

    def end(self) -> None:
        """Nothing more is to be read: forget what is unfinished, and who checks."""
        self._forget_unfinished()
        self._unread = b""
        self._check = accept_any

    def _forget_unfinished(self) -> None:
        self.pending = 0
        self._head_bytes = bytearray()
        self._head = self._body = None

    def _resume_head(self, data: bytes) -> bytes:
        """Add to an unfinished head; give everything once its blank line may be there."""
        pending = self._head_bytes
        if len(data) >= len(pending):
            # Copying at most as much as just arrived keeps the total linear.
            self._forget_unfinished()
            return bytes(pending) + data
        pending += data
        self.pending = len(pending)
        self._lines += data.count(b"\n")
        if self._blank_line(pending, self._scan) is None:
            self._check_partial_head(pending)
            return b""
        self._forget_unfinished()
        return bytes(pending)

    def _resume_body(self, data: bytes, frames: list[tuple[Head, bytes]]) -> int:
        """Add to an unfinished body; the place after its NUL, or -1 when it is still unfinished."""
        head, gathered = self._head, self._body
        assert head is not None
        assert gathered is not None
        missing = gathered.missing
        end = (missing if missing <= len(data) else 0) if missing else data.find(b"\0") + 1
        if not end:
            self._add_to_body(head, data, 0, len(data))
            return -1
        if data[end - 1] != 0:
            raise _missing_nul(head)
        self._add_to_body(head, data, 0, end - 1)
        body = gathered.whole()
        if body and head.command not in BODY_COMMANDS:
            body = body[: self._without_body(head, 0)]
        frames.append((head, body))
        self._forget_unfinished()
        if self._rules.version is None:
            self._halted = True
            self._unread = data[end:]
            return -1
        return end

    def _parse(  # noqa: C901, PLR0912, PLR0915  # written out: each call would cost a tenth
        self, data: bytes, position: int, frames: list[tuple[Head, bytes]]
    ) -> None:
        """Read frames from ``data`` until it ends; keep what is unfinished."""
        size = len(data)
        find = data.find
        append = frames.append
        memory, messages = self._memory, self._messages
        known: Callable[[bytes], Head | None] = _nothing_known
        like, remember = known, None
        if memory is not None:
            known, like, remember = memory.known, memory.like, memory.remember
        while position < size:
            if data[position] <= _CR:
                # Behind a frame of a broker there is one; a heart-beat is one, too.
                position += data[position] == _LF
                if position < size and data[position] <= _CR:
                    position = _eols(data, position).end()
                if position >= size:
                    break
            if data[position] == _A and self._takes_ack_runs:
                run = ack_run(data, position)
                if run is not None:
                    append((ACK_RUN, run[0]))
                    position = run.end()
                    continue
            if messages is not None:
                run_end = messages.read_run(data, position, self._limits.body, frames)
                if run_end > position:
                    position = run_end
                    continue
            end = find(b"\n\n", position, position + FAST_BLOCK)
            block = data[position:end] if end > 0 else b""
            head = known(block) or like(block)
            start = end + 2
            if head is None:
                if end < 0 or _CR in block:
                    found = self._search_head(data, position)
                    if found is None:
                        self._keep_partial_head(data, position)
                        return
                    head, start = found
                else:
                    head = self._parse_head(block)
                    if remember is not None:
                        remember(head)
            length = head.length
            if length >= 0:
                # So many octets, NULs among them, and a NUL behind (rule F4).
                end = start + length
                if end >= size:
                    self._keep_partial_body(head, data, start)
                    return
                if data[end] != 0:
                    raise _missing_nul(head)
            else:
                # The first NUL ends the body (rule F5).
                end = find(b"\0", start)
                if end < 0:
                    self._keep_partial_body(head, data, start)
                    return
                if end - start > self._limits.body:
                    raise _body_too_large(end - start, self._limits, head)
            position = end + 1
            if end > start and head.command not in BODY_COMMANDS:
                end = self._without_body(head, start)
            append((head, data[start:end]))
            if self._rules.version is None:
                # What follows is read by the version that this frame settles (rule N12).
                self._halted = True
                self._unread = data[position:]
                return

    def _without_body(self, head: Head, start: int) -> int:
        """Refuse a body on a command that must not have one (1.1 *Value Encoding*, 1.2 *Body*).

        1.0 says nothing of the kind, and CONNECT comes before the version is known; there the
        body is ignored.
        """
        if self._rules.version not in (None, Version.V1_0):
            raise ProtocolError(
                ErrorCode.UNEXPECTED_BODY,
                f"a {head.command} frame must not have a body",
                headers=head.headers,
            )
        return start

    def _blank_line(self, data: bytes | bytearray, start: int) -> tuple[int, int] | None:
        """Find the blank line from the start of a line on: (its start, where the body starts)."""
        while True:
            newline = data.find(b"\n", start)
            if newline < 0:
                self._scan = start
                return None
            if newline == start or (newline == start + 1 and data[start] == _CR):
                return start, newline + 1
            start = newline + 1

    def _search_head(self, data: bytes, position: int) -> tuple[Head, int] | None:
        """Find the end of a head line by line, for CR LF and for large heads.

        Returns:
            The head and where its body starts; None if the head is unfinished.
        """
        found = self._blank_line(data, position)
        if found is None:
            return None
        blank, start = found
        return self._parse_head(data[position : blank - 1], intricate=True), start

    def _parse_head(  # noqa: C901, PLR0912  # the common case is written out
        self, block: bytes, *, intricate: bool = False
    ) -> Head:
        """Decode command and headers, and have the head checked."""
        headers: dict[str, str] = {}
        try:
            if intricate or _BACKSLASH in block or len(block) > self._simple_block:
                command = self._decode_thoroughly(block, headers)
            else:
                # The common case, written out: LF, no escapes, no line that could be too long.
                command, *lines = block.decode().split("\n")
                if len(command) > self._limits.command:
                    raise _too_large("command", len(command), self._limits.command)
                for line in lines:
                    name, colon, value = line.partition(":")
                    if not colon or not name:
                        raise _malformed_line(line)
                    if name not in headers:  # of a repeated one the first counts (rule F8)
                        headers[name] = value
                if len(lines) > self._limits.header_count:
                    raise _too_large("number of headers", len(lines), self._limits.header_count)
            if _NUL in block:
                # The NUL of a frame whose empty line was forgotten (rule F1).
                raise ProtocolError(
                    ErrorCode.MALFORMED_FRAME,
                    f"NUL before the blank line that ends the headers of {command[:32]!r}",
                )
            length = -1
            if "content-length" in headers:
                length = self._content_length(headers["content-length"])
                if command not in BODY_COMMANDS:
                    # Clients are known that answer with the length of what they answer to.
                    length = -1
            head = Head(command, headers, block, length)
            self._check(head)
        except UnicodeDecodeError:
            if self._tolerant:
                return self._parse_head(block, intricate=True)
            raise ProtocolError(
                ErrorCode.BAD_ENCODING, "command and headers must be UTF-8"
            ) from None
        except ProtocolError as error:
            # What was read so far may name the receipt that the ERROR has to answer.
            error.frame_headers = error.frame_headers or headers
            raise
        return head

    def _decode_thoroughly(self, block: bytes, headers: dict[str, str]) -> str:
        """Fill ``headers``, give the command: for CR LF, escapes, padding and long lines."""
        rules, limits = self._rules, self._limits
        if len(block) > limits.header_block:
            raise _too_large("header block", len(block), limits.header_block)
        # 1.0 does not say which encoding; its bytes pass through unharmed.
        tolerant = self._tolerant or rules.version is Version.V1_0
        lines = block.decode("utf-8", "surrogateescape" if tolerant else "strict").split("\n")
        if len(lines) > limits.header_count + 1:
            raise _too_large("number of headers", len(lines) - 1, limits.header_count)
        return self._decode_lines(lines, headers)

    def _decode_lines(self, lines: list[str], headers: dict[str, str]) -> str:
        """The thorough way: CR LF, escapes, padding and long lines."""
        rules, limits = self._rules, self._limits
        if rules.crlf or lines[0].endswith("\r"):
            # Before 1.2 a CR may be the end of a value. A frame whose command ends with one is
            # written by somebody who ends all lines like that; no command has a CR.
            lines = [line.removesuffix("\r") for line in lines]
        command = lines[0]
        if len(command) > limits.command:
            raise _too_large("command", len(command), limits.command)
        verbatim = command in UNESCAPED_COMMANDS  # CONNECT and its answer (rule E5)
        for line in lines[1:]:
            if len(line.encode("utf-8", "surrogateescape")) > limits.header_line:
                raise _too_large("header line", len(line), limits.header_line)
            name, colon, value = line.partition(":")
            if rules.trims:  # only 1.0 pads (rule F9)
                name, value = name.strip(), value.strip()
            if not colon or not name or (rules.crlf and "\r" in line):
                raise _malformed_line(line)
            if not verbatim:
                name, value = unescape(name, rules), unescape(value, rules)
            headers.setdefault(name, value)
        return command

    def _content_length(self, text: str) -> int:
        # Before a number is made of it, which for a long one takes long (rule F4).
        if not (text.isdecimal() and text.isascii()) or len(text) > _LONGEST_LENGTH:
            raise ProtocolError(
                ErrorCode.BAD_CONTENT_LENGTH,
                f"content-length must be a decimal number, not {text[:40]!r}",
            )
        length = int(text)
        if length > self._limits.body:
            raise ProtocolError(
                ErrorCode.FRAME_TOO_LARGE,
                f"content-length {length} is over the limit of {self._limits.body} bytes",
            )
        return length

    def _keep_partial_head(self, data: bytes, position: int) -> None:
        self._head_bytes = bytearray(data[position:])
        self.pending = len(self._head_bytes)
        self._scan = max(0, self._scan - position)
        self._lines = self._head_bytes.count(b"\n")
        self._check_partial_head(self._head_bytes)

    def _keep_partial_body(self, head: Head, data: bytes, start: int) -> None:
        self._head = head
        self._body = GatheredBody(head.length)
        self._add_to_body(head, data, start, len(data))

    def _add_to_body(self, head: Head, data: bytes, start: int, end: int) -> None:
        """Add a part of what was read to an unfinished body."""
        gathered = self._body
        assert gathered is not None
        size = gathered.size + end - start
        if head.length < 0 and size > self._limits.body:
            raise _body_too_large(size, self._limits, head)
        gathered.add(memoryview(data)[start:end])
        self.pending = size

    def _check_partial_head(self, pending: bytearray) -> None:
        """Refuse an endless head before its end has been seen."""
        limits = self._limits
        if len(pending) > limits.header_block + 2:  # the end of the last line does not count
            raise _too_large("header block", len(pending), limits.header_block)
        if self._lines > limits.header_count + 1:
            raise _too_large("number of headers", self._lines, limits.header_count)
        longest = limits.command + 1  # there may be a CR
        if len(pending) > longest and pending.find(b"\n", 0, longest + 1) < 0:
            raise _too_large("command", len(pending), limits.command)
        if self._lines and len(pending) - self._scan > limits.header_line + 1:
            raise _too_large("header line", len(pending) - self._scan, limits.header_line)


def encode_frame(
    command: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    version: Version = Version.V1_2,
    *,
    content_length: bool = True,
) -> bytes:
    """The bytes of one frame, NUL included; ``content-length`` is added where there is a body.

    CONNECT, STOMP and CONNECTED are written without escapes (1.2, *Value Encoding*), so their
    headers may not hold line breaks.

    Raises:
        ValueError: a header of CONNECT, STOMP or CONNECTED with a line break, or a colon in its
            name; a NUL; or a ``content-length`` that the body of a SEND does not have.
    """
    given = as_given(headers)
    if command in UNESCAPED_COMMANDS:
        texts = [(str(name), str(value)) for name, value in given.items()]
        for name, value in texts:
            if "\n" in name or "\r" in name or ":" in name or "\n" in value or "\r" in value:
                raise ValueError(
                    f"header {name!r} of {command} must not hold a line break: "
                    f"{command} frames have no escapes"
                )
        lines = "".join([f"{name}:{value}\n" for name, value in texts])
    else:
        lines = header_lines(headers, version)
    if body and content_length:
        length = given.get("content-length")
        if length is None:
            lines += f"content-length:{len(body)}\n"
        elif command == "SEND" and str(length) != str(len(body)):
            raise ValueError(
                f"the body has {len(body)} bytes, and not the {length} that the header "
                "content-length says; leave it out, and it is added"
            )
    head = f"{command}\n{lines}\n"
    if "\0" in head:
        where = [repr(name) for name, value in given.items() if "\0" in f"{name}{value}"]
        raise ValueError(f"no frame can carry the NUL in {', '.join(where) or 'its command'}")
    try:
        encoded = head.encode()  # in half the time of the other
    except UnicodeEncodeError:
        encoded = head.encode("utf-8", "surrogateescape")
    return b"%b%b\0" % (encoded, body)


def _missing_nul(head: Head) -> ProtocolError:
    return ProtocolError(
        ErrorCode.MALFORMED_FRAME,
        f"no NUL after the {head.length} bytes of body that content-length announced",
        headers=head.headers,
    )


def _malformed_line(line: str) -> ProtocolError:
    # This goes to a log, so what was meant to be a passcode is not repeated.
    shown = "'passcode ***'" if "passcode" in line.lower() else repr(line[:60])
    return ProtocolError(ErrorCode.MALFORMED_FRAME, f"{shown} is not a header line")


def _too_large(what: str, size: int, limit: int) -> ProtocolError:
    return ProtocolError(
        ErrorCode.FRAME_TOO_LARGE, f"{what} of {size} or more is over the limit of {limit}"
    )


def _body_too_large(size: int, limits: Limits, head: Head) -> ProtocolError:
    return ProtocolError(
        ErrorCode.FRAME_TOO_LARGE,
        f"body of {size} bytes or more is over the limit of {limits.body} bytes",
        headers=head.headers,
    )
