"""The sub-command ``stompy-broker check``, which reads a configuration and explains it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from stompy.errors import ProtocolError
from stompy_broker.cli.console import EXIT_USAGE, complain, load_or_exit
from stompy_broker.config import BrokerConfig, ConfigError
from stompy_broker.config_checks import users_of, warnings_of
from stompy_broker.destinations.names import (
    Destination,
    DestinationKind,
    is_address,
    parse_destination,
)
from stompy_broker.destinations.policy import Policies
from stompy_broker.routing.directions import Directions
from stompy_broker.routing.virtual_queues import VirtualQueues
from stompy_broker.security.access import Access, Action
from stompy_broker.security.auth import ANONYMOUS, Principal
from stompy_broker.wire.tls import Certificates


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--explain", metavar="DESTINATION", help="Print the policy of a destination, all of it."
)
@click.option(
    "--explain-access",
    nargs=2,
    metavar="USER DESTINATION",
    help="Print what a user may do with a destination, and which entry of the ACL says so, and the "
    "quota of the user.",
)
def check(file: Path, explain: str | None, explain_access: tuple[str, str] | None) -> None:
    """Check a configuration FILE and the files it names; exit status 2 if it cannot be used."""
    config = load_or_exit(file, {})
    try:
        users = users_of(config)
        if config.tls.cert:
            Certificates(config.tls)
        if config.cluster:
            from stompy_broker.cluster_checks import check_cluster_files  # noqa: PLC0415 -- rare

            check_cluster_files(config)
    except ConfigError as error:
        complain(f"{file}: {error}")
        sys.exit(EXIT_USAGE)
    for problem in warnings_of(config, users):
        complain(f"{file}: warning: {problem}")
    if explain is not None:
        _explain(config, explain)
    if explain_access is not None:
        _explain_access(config, users, *explain_access)
    if explain is None and explain_access is None:
        click.echo(f"{file}: valid")


def _destination(text: str) -> Destination:
    try:
        return parse_destination(text)
    except ProtocolError as error:
        complain(f"{text}: {error.Message}")
        sys.exit(EXIT_USAGE)


def _explain_access(config: BrokerConfig, users: Mapping[str, str], user: str, text: str) -> None:
    origins = Policies(config.policy).origins
    access = Access(config.acl, config.security.default_access, origins)
    destination = _destination(text)
    role = config.role_of(user)
    principal = Principal(user, role, proved=config.knows_users)
    if not config.knows_users:
        known = "; there are no users, so that is anybody"
    elif user == ANONYMOUS:
        known = "" if config.anonymous else "; nobody may come in without login"
    elif user in users:
        known = ""
    elif config.tls.login_from:
        known = "; there is no such user but by a certificate"
    else:
        known = "; there is no such user, so nobody can do this"
    click.echo(f"{user} (role {role}{known}), {destination}:")
    for action in Action:
        decision = access.decide(principal, action, destination)
        by = "security.default_access" if decision.rule is None else f"acl.{decision.rule}"
        if decision.origin is not None:
            by += f", about {decision.origin}, whose messages may be in it"
        if decision.is_exempt:
            by = "it is no matter of the ACL"
        click.echo(f"{action} = {'allow' if decision.allowed else 'deny'}  # {by}")
    _explain_quota(config, principal)


def _explain_quota(config: BrokerConfig, principal: Principal) -> None:
    """Print what a user may use, if anything is said of that."""
    for number, quota in enumerate(config.quota):
        if quota.fits(principal.owner or ANONYMOUS, principal.role):
            click.echo(f"quota.{number}, user = {json.dumps(quota.user)}:")
            for name, value in quota.model_dump(exclude={"user"}, exclude_defaults=True).items():
                click.echo(f"{name} = {json.dumps(value)}")
            return


def _explain(config: BrokerConfig, text: str) -> None:
    directions = Directions(VirtualQueues(lambda name: False))
    directions.renew(config.exchange, config.virtual_topics, config.route)
    try:
        destination = directions.resolve(_destination(text))
    except ProtocolError as error:
        complain(f"{text}: {error.Message}")
        sys.exit(EXIT_USAGE)
    policies = Policies(config.policy)
    index = policies.index(destination.kind, destination.name)
    policy = policies.find(destination.kind, destination.name)
    which = "defaults" if index is None else f"policy.{index}, match = {json.dumps(policy.match)}"
    click.echo(f"{destination}: {which}")
    for name, value in policy.model_dump(exclude={"match"}).items():
        click.echo(f"{name} = {json.dumps(value)}")
    for line in directions.describe(destination):
        click.echo(f"# {line}")
    if destination.kind is DestinationKind.TOPIC:
        click.echo(f"# {_of_retained(config, destination)}")


def _of_retained(config: BrokerConfig, topic: Destination) -> str:
    """Say whether a topic keeps messages for who subscribes later."""
    limits = config.limits
    if config.cluster:
        return "keeps no message for who subscribes later (x-retain): it is in a cluster"
    if is_address(topic) or not limits.retained:
        why = "it is temporary" if limits.retained else "limits.retained = 0"
        return f"keeps no message for who subscribes later (x-retain): {why}"
    return (
        f"keeps its last message with x-retain:true for who subscribes later; so may "
        f"{limits.retained} topics, with {limits.retained_bytes} bytes together"
    )
