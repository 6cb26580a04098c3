"""What ``[cluster]`` names and whether it can be used, and what of it is hardly meant."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from stompy_broker.cluster.membership.groups import GroupMap
from stompy_broker.cluster.nats.codec import NATSError
from stompy_broker.cluster.nats.program import find_program, inspect_program
from stompy_broker.cluster.nats.server_list import ServerAddress
from stompy_broker.cluster_config import ClusterConfig, read_address
from stompy_broker.cluster_secret import read_secret
from stompy_broker.cluster_settings import link_tls, node_settings
from stompy_broker.config import BrokerConfig, ConfigError
from stompy_broker.destinations.names import DestinationKind, parse_destination
from stompy_broker.destinations.patterns import WILDCARDS
from stompy_broker.destinations.policy import DEAD_LETTER, Policy
from stompy_broker.store.directory import FILE

_ONE_WORD = "*"


def check_cluster_files(config: BrokerConfig) -> None:
    """See that what a member of a cluster needs is there.

    Raises:
        ConfigError: the secret, a certificate or the program nats-server cannot be used.
    """
    secret = read_secret(config.cluster.secret_file)
    node_settings(config, "check", secret)
    link_tls(config)
    if config.cluster.embedded:
        try:
            inspect_program(find_program(config.cluster.nats_server))
        except NATSError as error:
            raise ConfigError(f"cluster: {error}") from None


def cluster_warnings(config: BrokerConfig) -> list[str]:
    """What can be used of a member's configuration, and is hardly meant; for people."""
    cluster = config.cluster
    found = []
    if cluster.replicas == 1:
        found.append(
            "cluster.replicas = 1: each message is on one server, and lost with it, whatever its "
            "receipt said"
        )
    if cluster.trust_sync:
        found.append(
            "cluster.trust_sync: nobody asks the NATS servers whether they sync always; if they do "
            "not, a power cut takes messages that had their receipts"
        )
    own, _ = read_address(cluster.address(config.listen.host, 1), 1)
    if _is_local(own) and not all(map(_is_local, _hosts(cluster))):
        found.append(
            f"cluster.advertise: {own} is this machine itself, but the NATS servers are elsewhere: "
            "brokers on other machines will not find this one"
        )
    old = Path(config.store.data) / FILE
    if old.exists():
        found.append(
            f"store.data: {old} is of a broker that was alone; a member of a cluster does not read "
            "it. Take what is in it to the cluster with the old configuration on another port"
        )
    found += [
        f"limits.{key}: in a cluster topics keep no messages, and a SEND with x-retain is refused"
        for key in ("retained", "retained_bytes")
        if key in config.limits.model_fields_set
    ]
    groups = GroupMap(cluster.groups, [group.match for group in cluster.group])
    pins = [parse_destination(group.match).name for group in cluster.group]
    for number, policy in enumerate(config.policy):
        found += _strays(policy, number, groups, pins)
    return found


def _hosts(cluster: ClusterConfig) -> Iterator[str]:
    if cluster.embedded:
        yield from (place.host for place in cluster.places)
    else:
        yield from (ServerAddress.parse(server).host for server in cluster.nats)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _strays(policy: Policy, number: int, groups: GroupMap, pins: list[str]) -> Iterator[str]:
    """Say where a policy sends messages of a queue to another group than the queue's own."""
    destination = parse_destination(policy.match)
    if destination.kind is not DestinationKind.QUEUE:
        return
    for key in ("dead_letter", "expired_to", "overflow_to"):
        target = getattr(policy, key)
        if target in ("", DEAD_LETTER):
            continue
        other = parse_destination(target.replace("{name}", destination.name)).name
        if not _are_together(destination.name, other, groups, pins):
            yield (
                f"policy.{number}.{key}: {target} is in another group than {policy.match}, so such "
                "a message moves in two steps, and may be in both queues after a crash; name "
                "both in one [[cluster.group]], or use /queue/DLQ.{name}"
            )


def _are_together(name: str, other: str, groups: GroupMap, pins: list[str]) -> bool:
    """Whether all queues of a name or pattern are in one group with those of another."""
    if other in (name, f"DLQ.{name}"):
        return True
    if not WILDCARDS & {*name.split("."), *other.split(".")}:
        return groups.of(name) == groups.of(other)
    return any(_covers(pin, name) and _covers(pin, other) for pin in pins)


def _covers(pattern: str, other: str) -> bool:
    """Whether all that a pattern matches is matched by another one."""
    own, words = pattern.split("."), other.split(".")
    for place, word in enumerate(own):
        if word in (">", "#"):
            return True
        if place >= len(words) or words[place] in (">", "#"):
            return False
        if word not in (_ONE_WORD, words[place]):
            return False
    return len(own) == len(words)
