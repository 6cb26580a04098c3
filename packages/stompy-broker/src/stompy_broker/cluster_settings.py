"""From ``[cluster]`` to what the parts of a cluster take: server, node, links; for members only."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import ssl
from collections.abc import Mapping
from pathlib import Path

from stompy_broker.cluster.membership.groups import GroupMap
from stompy_broker.cluster.membership.membership import MembershipTimes
from stompy_broker.cluster.nats.client import NATSSettings
from stompy_broker.cluster.nats.codec import NATSLogin
from stompy_broker.cluster.nats.server import ServerProcess, ServerSettings, ServerTLS
from stompy_broker.cluster.nats.server_list import ServerAddress
from stompy_broker.cluster.node import NodeSettings
from stompy_broker.cluster_config import ServerPlace
from stompy_broker.cluster_secret import ClusterSecret
from stompy_broker.config import BrokerConfig, ConfigError
from stompy_broker.version import __version__

ID_FILE = "broker.id"
"""In the data directory: the id of this broker."""

_LONGEST_HOST = 40
_SERVERS_KEY = "nats"
_USER, _SYSTEM_USER = "stompy", "sys"


def broker_id(config: BrokerConfig) -> str:
    """The id of this broker; one that is made is the same ever after in its data directory.

    The directory should be locked.

    Raises:
        ConfigError: it cannot be kept, or what is kept is none.
    """
    if config.cluster.id:
        return config.cluster.id
    file = Path(config.store.data) / ID_FILE
    try:
        if file.exists():
            found = file.read_text("ascii").strip()
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", found):
                raise ConfigError(f"{file}: holds no id of a broker; say which with cluster.id")
            return found
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        host = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())[:_LONGEST_HOST].strip("-")
        made = f"{host or 'broker'}-{secrets.token_hex(2)}"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as new:
            new.write(f"{made}\n")
            new.flush()
            os.fsync(new.fileno())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise ConfigError(f"{file}: cannot be used: {reason}") from None
    return made


def embedded_server(config: BrokerConfig, secret: ClusterSecret) -> ServerProcess | None:
    """The NATS server that this broker is to run, not started; None = others run it."""
    cluster = config.cluster
    if not cluster.embedded:
        return None
    place = cluster.own_place(config.listen.host)
    directory = Path(cluster.nats_data) if cluster.nats_data else Path(config.store.data) / "nats"
    settings = ServerSettings(
        # Of the place and not of the broker: who replaces a machine takes its part.
        name=str(place),
        directory=directory.absolute(),
        port=place.port,
        host=place.host,
        route_port=place.route_port,
        routes=[_route(other) for other in cluster.places],
        cluster=cluster.name,
        password=_password(secret),
        max_storage=int(cluster.nats_storage),
        tls=_server_tls(config),
    )
    return ServerProcess(settings, cluster.nats_server)


def node_settings(config: BrokerConfig, broker: str, secret: ClusterSecret) -> NodeSettings:
    """How a broker takes part in its cluster.

    Args:
        config: its settings.
        broker: its id.
        secret: of the cluster.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
    """
    cluster = config.cluster
    if cluster.embedded:
        own = cluster.own_place(config.listen.host)
        places = sorted(cluster.places, key=lambda place: place != own)
        login = NATSLogin(_USER, _password(secret))
        tls = _server_tls(config) is not None
        servers = tuple(ServerAddress(place.host, place.port, tls, login) for place in places)
        system: NATSLogin | None = NATSLogin(_SYSTEM_USER, _password(secret))
    else:
        servers = tuple(map(ServerAddress.parse, cluster.nats))
        user, _, password = cluster.nats_system.partition(":")
        system = NATSLogin(user, password) if user else None
    nats = NATSSettings(
        servers,
        name=f"stompy-broker {broker}",
        version=__version__,
        tls=_trust(config) if any(server.tls for server in servers) else None,
    )
    return NodeSettings(
        cluster.name,
        broker,
        nats,
        cluster.replicas,
        system,
        address=cluster.address(config.listen.host, config.listen.port),
        groups=GroupMap(cluster.groups, [group.match for group in cluster.group]),
        version=__version__,
        patience_seconds=cluster.patience,
        times=MembershipTimes(silent=cluster.silence, patience=cluster.move_after),
        standby_bytes=int(cluster.standby),
    )


def link_tls(config: BrokerConfig) -> ssl.SSLContext | None:
    """What links to other brokers are encrypted with; None = they are not.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """
    return _trust(config) if config.tls.cert else None


def agreed_settings(config: BrokerConfig, users: Mapping[str, str]) -> dict[str, str]:
    """Hashes of what should be the same in all brokers, by what it is.

    Args:
        config: the settings of this broker.
        users: password hashes of all users.
    """
    parts = {
        "users": dict(users),
        "roles": config.roles.model_dump(mode="json"),
        "acl": [rule.model_dump(mode="json") for rule in config.acl]
        + [config.security.default_access],
        "policy": [policy.model_dump(mode="json") for policy in config.policy],
        "silence": config.cluster.silence,
    }
    return {
        name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]
        for name, part in parts.items()
    }


def _password(secret: ClusterSecret) -> str:
    return secret.key(_SERVERS_KEY).hex()


def _route(place: ServerPlace) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.route_port}"


def _server_tls(config: BrokerConfig) -> ServerTLS | None:
    tls, ca = config.tls, config.cluster.tls_ca
    if not (tls.cert and ca):
        return None
    cert, key, authorities = (str(Path(f).absolute()) for f in (tls.cert, tls.key or tls.cert, ca))
    return ServerTLS(cert, key, authorities)


def _trust(config: BrokerConfig) -> ssl.SSLContext:
    ca = config.cluster.tls_ca
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error
        raise ConfigError(f"cluster.tls_ca {ca!r}: cannot be used: {reason}") from None
