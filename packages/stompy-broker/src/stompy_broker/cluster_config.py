"""What a configuration says of the cluster that a broker is a member of: ``[cluster]``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import (
    ByteSize,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    field_validator,
    model_validator,
)

from stompy.errors import ProtocolError
from stompy_broker.config_section import Section
from stompy_broker.destinations.names import DestinationKind, check_pattern, parse_destination

NATS_PORT = 4222
ROUTE_PORT_AFTER = 2000
"""A server's port for other servers is its port for clients and so many more, 6222 as a rule."""

MOST_GROUPS = 32
"""Groups and entries of ``[[cluster.group]]`` together; message ids have room for no more."""

_MOST_PORT = 65535
_CLUSTERS = (3, 5)
"""How many servers keep a log by majority, and are worth it."""

_ANYWHERE = ("", "0.0.0.0", "::", "*")

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LONGEST_NAME = 32
_LONGEST_ID = 64


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """Where one of the embedded servers is.

    Attributes:
        host: an address or a name that all the others know.
        port: for brokers.
        route_port: for the other servers.
    """

    host: str
    port: int = NATS_PORT
    route_port: int = NATS_PORT + ROUTE_PORT_AFTER

    @classmethod
    def parse(cls, text: str) -> ServerPlace:
        """Read ``HOST`` or ``HOST:PORT``.

        Raises:
            ValueError: it is neither.
        """
        host, port = read_address(text, NATS_PORT)
        if host in _ANYWHERE:
            raise ValueError(f"{text!r} is no address that other brokers could connect to")
        if not 0 < port <= _MOST_PORT - ROUTE_PORT_AFTER:
            most = _MOST_PORT - ROUTE_PORT_AFTER
            raise ValueError(
                f"{text!r}: the port must be 1 to {most}; routes go to the one {ROUTE_PORT_AFTER} "
                "above it"
            )
        return cls(host, port, port + ROUTE_PORT_AFTER)

    def __str__(self) -> str:
        """Host and port as an address is written."""
        return written_address(self.host, self.port)


def read_address(text: str, port: int) -> tuple[str, int]:
    """Read ``HOST``, ``HOST:PORT`` or ``[HOST]:PORT``.

    Args:
        text: what to read.
        port: what holds if it names none.

    Raises:
        ValueError: it is no address.
    """
    try:
        url = urlsplit(f"//{text}")
        host, found = url.hostname, url.port
    except ValueError:
        raise ValueError(f"{text!r} is no address: write HOST or HOST:PORT") from None
    if not host or url.path or url.query or url.fragment or url.username is not None:
        raise ValueError(f"{text!r} is no address: write HOST or HOST:PORT")
    return host, port if found is None else found


def written_address(host: str, port: int) -> str:
    """Host and port as `read_address` reads them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class ClusterGroup(Section):
    """Queues that stay together, whatever their names would give; ``[[cluster.group]]``."""

    match: str = Field(
        description="Queues that are one group: `/queue/orders.>`. Their dead letters are in it "
        "too, and the durable subscriptions whose names fit.",
    )

    @field_validator("match")
    @classmethod
    def _check_match(cls, value: str) -> str:
        try:
            destination = parse_destination(value)
            check_pattern(destination.name)
        except ProtocolError as error:
            raise ValueError(error.Message) from None
        if destination.kind is not DestinationKind.QUEUE:
            raise ValueError(
                "a group is of /queue/...; that of the durable subscription NAME goes by "
                "/queue/NAME"
            )
        return value


class ClusterConfig(Section):
    """Several brokers that have one set of queues. Empty = this broker is alone."""

    name: str = Field(
        default="",
        description="Of the cluster, the same in all its brokers: letters, digits, `-` and `_`. "
        "Empty = this broker is alone, and nothing else may stand here.",
    )
    id: str = Field(
        default="",
        description="Of this broker, which no other one of the cluster may have. Empty = one is "
        "made of the name of the machine at the first start, and kept in the data directory.",
    )
    advertise: str = Field(
        default="",
        description="`HOST` or `HOST:PORT`, where other brokers and clients reach this one. "
        "Empty = `listen.host` and its port, which must not be `0.0.0.0` then.",
    )
    secret_file: str = Field(
        default="",
        description="File with the secret of the cluster, the same in all its brokers; "
        "`stompy-broker cluster secret` makes it. Brokers prove by it who they are, and embedded "
        "servers have their passwords from it. It must not be open to everybody on the machine.",
    )
    nats: tuple[str, ...] = Field(
        default=(),
        repr=False,
        description="Your own NATS servers: `nats://USER:PASSWORD@HOST:PORT`, or `tls://…` to "
        "encrypt. Excludes `embedded`.",
    )
    nats_system: str = Field(
        default="",
        repr=False,
        description="With `nats`: `USER:PASSWORD` of the servers' system account, with which they "
        "are asked whether they sync always.",
    )
    trust_sync: bool = Field(
        default=False,
        description="With `nats`: start although the servers cannot be asked whether they sync "
        "always. If they do not, a power cut takes messages that had their receipts.",
    )
    embedded: bool = Field(
        default=False, description="This broker runs one of the NATS servers, as its child."
    )
    peers: tuple[str, ...] = Field(
        default=(),
        description="With `embedded`: `HOST` or `HOST:PORT` of all servers, three or five, in all "
        "brokers alike. The port is 4222 unless said otherwise; other servers connect to the one "
        "that is 2000 above it.",
    )
    peer: str = Field(
        default="",
        description="With `embedded`: the one of `peers` that this broker runs. Empty = the one "
        "that has the host of `advertise`.",
    )
    nats_server: str = Field(
        default="",
        description="With `embedded`: the program `nats-server`. Empty = that of the extra "
        "`stompy-broker[cluster]`, or else the one on the PATH.",
    )
    nats_data: str = Field(
        default="",
        description="With `embedded`: directory of the server. Empty = `nats` in the data "
        "directory.",
    )
    nats_storage: ByteSize = Field(
        default=ByteSize(0),
        description="With `embedded`: what the server may store; 0 = three quarters of what is "
        "free on its disk at the start.",
    )
    tls_ca: str = Field(
        default="",
        description="Authorities of the certificates of the other brokers, and of NATS servers. "
        "Empty = those that the system trusts. Links are encrypted where `tls.cert` is set; "
        "embedded servers where both are.",
    )
    groups: int = Field(
        default=16,
        ge=1,
        le=MOST_GROUPS,
        description="Into how many groups queues are spread by their names; a group has one "
        "owner, and is what moves. The same in all brokers, and for ever.",
    )
    replicas: Literal[1, 3, 5] = Field(
        default=3,
        description="On how many servers each message is, before it has its receipt; 1 = it is "
        "lost with its server.",
    )
    silence: float = Field(
        default=3.0,
        ge=1,
        description="Seconds of silence after which a broker counts as dead, and others take its "
        "groups.",
    )
    move_after: NonNegativeFloat = Field(
        default=30.0,
        description="Seconds that a broker has to be there before groups are moved to it.",
    )
    standby: ByteSize = Field(
        default=ByteSize(256 * 1024 * 1024),
        description="Memory for what this broker knows of groups of others, each of which it would "
        "own if another broker died. Then it takes them over at once, however many messages wait "
        "there; about 800 bytes for each. A group for which there is no room is read when it is "
        "taken over. 0 = all are.",
    )
    patience: PositiveFloat = Field(
        default=60.0,
        description="Seconds that the servers may take at the start until most of them are there; "
        "then the broker gives up.",
    )
    group: tuple[ClusterGroup, ...] = Field(
        default=(), description="Queues that stay together; the first entry that matches counts."
    )

    def __bool__(self) -> bool:
        """Whether there is a cluster."""
        return bool(self.name)

    @field_validator("name", "id")
    @classmethod
    def _check_word(cls, value: str) -> str:
        if value and not _WORD.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be used: letters, digits, - and _, and no sign at the beginning"
            )
        if len(value) > _LONGEST_ID:
            raise ValueError(f"has {len(value)} characters, and {_LONGEST_ID} are the most")
        return value

    @field_validator("advertise")
    @classmethod
    def _check_advertise(cls, value: str) -> str:
        if value:
            host, port = read_address(value, 1)
            if host in _ANYWHERE or port == 0:
                raise ValueError(
                    f"{value!r} is no address that others could connect to: write the address or "
                    "name of this machine that the other machines know, and the port"
                )
        return value

    @field_validator("nats")
    @classmethod
    def _check_nats(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for number, value in enumerate(values, start=1):
            # Never the text itself: there may be a password in it.
            try:
                url = urlsplit(value)
                valid = url.scheme in ("nats", "tls") and url.hostname and url.port != 0
            except ValueError:
                valid = False
            if not valid or url.path.strip("/") or url.query or url.fragment:
                raise ValueError(f"the server number {number} is not nats://HOST:PORT")
        return values

    @field_validator("nats_system")
    @classmethod
    def _check_system(cls, value: str) -> str:
        user, colon, password = value.partition(":")
        if value and not (user and colon and password):
            raise ValueError("is not USER:PASSWORD")
        return value

    @model_validator(mode="after")
    def _check(self) -> ClusterConfig:
        if not self.name:
            given = sorted(self.model_fields_set - {"name"})
            meant = [key for key in given if getattr(self, key) != type(self)().__dict__[key]]
            if meant:
                raise ValueError(
                    f"name is missing, without which there is no cluster; {meant[0]} is there"
                )
            return self
        if len(self.name) > _LONGEST_NAME:
            raise ValueError(f"name has {len(self.name)} characters; {_LONGEST_NAME} are the most")
        if not self.secret_file:
            raise ValueError(
                "secret_file is missing; make one with `stompy-broker cluster secret FILE`, and "
                "copy it to the other machines"
            )
        if self.embedded:
            self._check_embedded()
        else:
            self._check_external()
        if self.groups + len(self.group) > MOST_GROUPS:
            raise ValueError(
                f"groups = {self.groups} and {len(self.group)} entries of [[cluster.group]] are "
                f"more than {MOST_GROUPS}; take fewer of one of them"
            )
        return self

    def _check_embedded(self) -> None:
        if self.nats:
            raise ValueError("nats and embedded exclude each other: take one of them out")
        if self.nats_system or self.trust_sync:
            raise ValueError("nats_system and trust_sync are for nats, not for embedded servers")
        places = self.places
        if len(places) not in _CLUSTERS:
            raise ValueError(
                f"peers names {len(places)} servers; three or five of them decide by majority"
            )
        if len(set(places)) < len(places):
            raise ValueError("peers names a server twice; on one machine, give each its own port")
        if self.replicas > len(places):
            raise ValueError(
                f"replicas = {self.replicas} needs as many servers, and peers has {len(places)}"
            )
        if self.peer and ServerPlace.parse(self.peer) not in places:
            raise ValueError(f"peer {self.peer!r} is none of peers: {', '.join(self.peers)}")

    def _check_external(self) -> None:
        if not self.nats:
            raise ValueError(
                "has no servers: say embedded = true and peers, or nats with the URLs of your own"
            )
        needless = [
            key
            for key in ("peers", "peer", "nats_server", "nats_data", "nats_storage")
            if getattr(self, key)
        ]
        if needless:
            raise ValueError(f"{needless[0]} is for embedded = true, and not for nats")
        if not self.nats_system and not self.trust_sync:
            raise ValueError(
                "nats: it cannot be told whether these servers sync before they answer; give "
                "nats_system, or say trust_sync = true if you know that they have "
                "`sync_interval: always`"
            )

    @property
    def places(self) -> tuple[ServerPlace, ...]:
        """Where the embedded servers are.

        Raises:
            ValueError: one of them cannot be read.
        """
        return tuple(map(ServerPlace.parse, self.peers))

    def address(self, host: str, port: int) -> str:
        """Where others reach this broker.

        Args:
            host: where it listens.
            port: where it listens.
        """
        if not self.advertise:
            return written_address(host, port)
        return written_address(*read_address(self.advertise, port))

    def own_place(self, host: str) -> ServerPlace:
        """Where this broker's server is.

        Args:
            host: where the broker listens.

        Raises:
            ValueError: it cannot be told.
        """
        if self.peer:
            return ServerPlace.parse(self.peer)
        own, _ = read_address(self.address(host, 1), 1)
        found = [place for place in self.places if place.host == own]
        if len(found) != 1:
            how = "several" if found else "none"
            raise ValueError(
                f"{how} of peers has the host {own!r}, where this broker is reached: say which one "
                "is its own with peer"
            )
        return found[0]

    def problems(self, host: str, data: str) -> Iterator[str]:
        """What of it does not go with the rest of a configuration; each names the key.

        Args:
            host: where the broker listens.
            data: its data directory; empty = it has none.
        """
        if not self.name:
            return
        if not data:
            yield (
                "store.data: a member of a cluster needs a data directory, for its id and its "
                "server; leave out --memory, and [cluster] if messages need not survive"
            )
        if not self.advertise and host in _ANYWHERE:
            yield (
                f"cluster.advertise is missing: listen.host {host!r} is every address of this "
                "machine, and other brokers need one that they know"
            )
        elif self.embedded:
            try:
                self.own_place(host)
            except ValueError as error:
                yield f"cluster.peer: {error}"
