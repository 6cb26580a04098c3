"""How two brokers find out that they belong together, before there is a link. Pure.

======  =====================================================  ==================================
step    the front sends                                        the peer answers
======  =====================================================  ==================================
hello   the preface, versions, cluster, its id, whom it wants  the preface and the same of itself
proof   that it knows the secret                               that it knows it too, and its facts
facts   what the peer may know of it                           nothing: there is a link
======  =====================================================  ==================================

A proof is an HMAC-SHA256 with the cluster's secret over who proves it and both hellos, in which are
the ids and a random number of each side. So no proof can be used again, nor sent back to who made
it, nor passed on to a third. The front proves first: who only knows an address gets nothing to
guess the secret by. Facts are told to nobody who has not proved that it belongs here.

Whoever refuses says why, and both logs have it. Without TLS the proof says who is there, but it
protects nothing that comes after it from somebody who can change packets on their way.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Never, cast

from stompy_broker.cluster.link.codec import LinkProtocolError, length_of, shown
from stompy_broker.cluster.link.settings import LinkSettings

PREFACE: Final = b"\xb7STOMPY\n"
"""The first bytes of each side. No text in UTF-8, no TLS, no HTTP and no PROXY header begins so."""

_LONGEST: Final = 8 * 1024
"""Bytes of a message of the handshake."""
_LONGEST_NAME: Final = 255
_NONCE: Final = 32
_LENGTH: Final = struct.Struct(">I")
_Words = Mapping[str, object]


class LinkRefusedError(Exception):
    """There will be no link.

    Attributes:
        by_peer: whether the other side has refused, and not this one.
    """

    def __init__(self, reason: str, *, by_peer: bool = False) -> None:
        super().__init__(reason)
        self.by_peer = by_peer


@dataclass(frozen=True, slots=True)
class LinkPeer:
    """Who is at the other end of a link.

    Attributes:
        broker: its id.
        instance: changes each time that it starts.
        version: of the protocol, that both speak.
    """

    broker: str
    instance: str
    version: int


def _admit_all(peer: LinkPeer) -> str:
    return ""


class LinkHandshake:
    """One side of a handshake: bytes in, bytes out.

    Args:
        settings: who we are.
        wanted: the broker that we want to reach; empty = somebody has come to us.
        admit: asked about a peer that has proved that it knows the secret; says why it is not
            wanted, or nothing.

    Attributes:
        peer: who is there, once it is known.
        facts: what the peer has said of itself, at the end.
        rest: what came behind the handshake, at the end.
    """

    def __init__(
        self,
        settings: LinkSettings,
        wanted: str = "",
        admit: Callable[[LinkPeer], str] = _admit_all,
    ) -> None:
        self.peer: LinkPeer | None = None
        self.facts: Mapping[str, str] = {}
        self.rest = b""
        self._settings = settings
        self._wanted = wanted
        self._admit = admit
        self._input = b""
        self._output = [PREFACE]
        self._greeted = False  # the peer's preface was there
        self._hello = _written(
            {
                "versions": settings.versions,
                "cluster": settings.cluster,
                "broker": settings.broker,
                "instance": settings.instance,
                "wanted": wanted,
                "nonce": secrets.token_hex(_NONCE),
            }
        )
        self._its_hello = b""
        front, incoming = self._take_answer, self._take_hello
        self._steps: deque[Callable[[bytes], None]] = deque(
            (front, self._take_welcome)
            if wanted
            else (incoming, self._take_proof, self._take_its_facts)
        )
        if wanted:
            self._say(self._hello)

    @property
    def outgoing(self) -> bool:
        """Whether we have come to the peer, and so are the front."""
        return bool(self._wanted)

    @property
    def done(self) -> bool:
        """Whether there is a link now."""
        return not self._steps

    def take(self) -> bytes:
        """What is to be sent; each byte is given once."""
        output, self._output = self._output, []
        return b"".join(output)

    def receive(self, data: bytes) -> None:
        """Take bytes of the peer.

        Raises:
            LinkRefusedError: there will be no link. `take` has what to tell the peer.
        """
        self._input += data
        if not self._greeted:
            self._take_preface()
        while self._greeted and self._steps:
            message = self._next_message()
            if message is None:
                return
            self._steps[0](message)
            self._steps.popleft()
        if not self._steps:
            self.rest, self._input = self._input, b""

    def refuse(self, reason: str) -> Never:
        """Refuse, and leave the words for the peer in `take`.

        Raises:
            LinkRefusedError: always.
        """
        self._say(_written({"refused": shown(reason)}))
        raise LinkRefusedError(reason)

    # -- bytes --------------------------------------------------------------------------------

    def _say(self, message: bytes) -> None:
        self._output += (length_of(len(message)), message)

    def _take_preface(self) -> None:
        begin = self._input[: len(PREFACE)]
        if not PREFACE.startswith(begin):
            words = shown(self._input[:200].decode(errors="replace"))
            raise LinkRefusedError(
                "what answers there takes no links: no broker, or one without [cluster]. "
                f"It says: {words}"
            )
        if len(begin) == len(PREFACE):
            self._input = self._input[len(PREFACE) :]
            self._greeted = True

    def _next_message(self) -> bytes | None:
        if len(self._input) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._input)
        if length > _LONGEST:
            self.refuse(f"a message of the handshake has {length} bytes; {_LONGEST} are allowed")
        end = _LENGTH.size + length
        if len(self._input) < end:
            return None
        message, self._input = self._input[_LENGTH.size : end], self._input[end:]
        return message

    def _read(self, message: bytes) -> _Words:
        try:
            words = json.loads(message)
        except (ValueError, RecursionError):
            words = None
        if not isinstance(words, dict):
            self.refuse("a message of the handshake cannot be read")
        refused = words.get("refused")
        if isinstance(refused, str):
            raise LinkRefusedError(shown(refused), by_peer=True)
        return words

    # -- hello --------------------------------------------------------------------------------

    def _take_hello(self, message: bytes) -> None:
        words = self._read_hello(message)
        wanted = words.get("wanted")
        if wanted != self._settings.broker:
            self._refuse_wrong_broker(shown(str(wanted)), self._settings.broker)
        self._check_id()
        self._say(self._hello)

    def _take_answer(self, message: bytes) -> None:
        self._read_hello(message)
        assert self.peer is not None
        if self.peer.broker != self._wanted:
            self._refuse_wrong_broker(self._wanted, self.peer.broker)
        self._check_id()
        self._say(_written({"proof": self._proof(front=True)}))

    def _read_hello(self, message: bytes) -> _Words:
        """Read who is there, and refuse who cannot be a peer of ours."""
        words, settings = self._read(message), self._settings
        self._its_hello = message
        version = self._common_version(words.get("versions"))
        cluster, broker, instance, nonce = (
            self._text(words, name) for name in ("cluster", "broker", "instance", "nonce")
        )
        if cluster != settings.cluster:
            self.refuse(
                f"broker {broker!r} is of the cluster {cluster!r} and broker {settings.broker!r} "
                f"of {settings.cluster!r}: look at cluster.name and at the addresses"
            )
        if len(nonce) < _NONCE:
            self.refuse("a message of the handshake cannot be read")
        self.peer = LinkPeer(broker, instance, version)
        return words

    def _common_version(self, versions: object) -> int:
        oldest, newest = self._settings.versions
        match versions:
            case [int(first), int(last)]:
                common = min(last, newest)
                if common >= max(first, oldest):
                    return common
                self.refuse(
                    f"one broker speaks versions {first} to {last} of links and the other one "
                    f"{oldest} to {newest}: upgrade the older one, or go by a release between them"
                )
            case _:
                self.refuse("a message of the handshake cannot be read")

    def _text(self, words: _Words, name: str) -> str:
        text = words.get(name)
        if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_NAME:
            self.refuse("a message of the handshake cannot be read")
        if not text.isprintable():
            self.refuse(f"the {name} of a broker has letters in it that cannot be shown")
        return text

    def _check_id(self) -> None:
        assert self.peer is not None
        if self.peer.broker == self._settings.broker:
            self.refuse(
                f"two brokers of one id: both are {self.peer.broker!r}. Give each broker of the "
                "cluster an id of its own"
            )

    def _refuse_wrong_broker(self, wanted: str, there: str) -> Never:
        self.refuse(
            f"broker {wanted!r} is wanted and {there!r} is there: two brokers advertise one "
            "address (cluster.advertise), or an address has changed hands"
        )

    # -- proof and facts ------------------------------------------------------------------------

    def _proof(self, *, front: bool) -> str:
        """What the front shows, or what it is shown."""
        ours, its = self._hello, self._its_hello
        hellos = (ours, its) if self._wanted else (its, ours)
        text = b"stompy link, front" if front else b"stompy link, peer"
        digests = b"".join(hashlib.sha256(hello).digest() for hello in hellos)
        return hmac.new(self._settings.secret, text + digests, "sha256").hexdigest()

    def _check_proof(self, words: _Words, *, front: bool) -> None:
        proof = words.get("proof")
        if not isinstance(proof, str) or not hmac.compare_digest(
            proof.encode(errors="replace"), self._proof(front=front).encode()
        ):
            assert self.peer is not None
            self.refuse(
                f"brokers {self.peer.broker!r} and {self._settings.broker!r} have different "
                "secrets: give all brokers of the cluster the same cluster.secret_file"
            )

    def _take_proof(self, message: bytes) -> None:
        self._check_proof(self._read(message), front=True)
        self._ask_whether_it_is_wanted()
        proof = self._proof(front=False)
        self._say(_written({"proof": proof, "facts": dict(self._settings.facts())}))

    def _take_welcome(self, message: bytes) -> None:
        words = self._read(message)
        self._check_proof(words, front=False)
        self._ask_whether_it_is_wanted()
        self._keep_facts(words)
        self._say(_written({"facts": dict(self._settings.facts())}))

    def _take_its_facts(self, message: bytes) -> None:
        self._keep_facts(self._read(message))

    def _ask_whether_it_is_wanted(self) -> None:
        assert self.peer is not None
        reason = self._admit(self.peer)
        if reason:
            self.refuse(reason)

    def _keep_facts(self, words: _Words) -> None:
        facts = words.get("facts")
        if not isinstance(facts, dict) or not all(isinstance(one, str) for one in facts.values()):
            self.refuse("a message of the handshake cannot be read")
        self.facts = cast(Mapping[str, str], facts)


def _written(words: _Words) -> bytes:
    message = json.dumps(words).encode()
    if len(message) > _LONGEST:
        raise LinkProtocolError(
            f"what is to be said of this broker takes {len(message)} bytes of {_LONGEST}"
        )
    return message
