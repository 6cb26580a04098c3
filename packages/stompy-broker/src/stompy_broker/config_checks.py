"""The files that a configuration names, and what of it can be used but is hardly meant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from stompy_broker.config import BrokerConfig, ConfigError
from stompy_broker.security.access import EVERYBODY
from stompy_broker.security.auth import ANONYMOUS
from stompy_broker.security.users import UsersFileError, exposure_warnings, read_users
from stompy_broker.wire.tls import validity_warnings


def users_of(config: BrokerConfig) -> dict[str, str]:
    """The password hashes of all users: those of the configuration and those of the users file.

    Raises:
        ConfigError: the file cannot be used, or a login stands in both.
    """
    if not config.security.users_file:
        return dict(config.users)
    try:
        more = read_users(Path(config.security.users_file))
    except UsersFileError as error:
        raise ConfigError(f"security.users_file: {error}") from None
    twice = sorted(config.users.keys() & more.keys())
    if twice:
        raise ConfigError(
            f"security.users_file: {twice[0]!r} stands in [users] too; take one of them out"
        )
    return config.users | more


def warnings_of(config: BrokerConfig, users: Mapping[str, str]) -> list[str]:
    """What of a configuration can be used, and is hardly meant; for people."""
    security, tls = config.security, config.tls
    found = _unknown_user_warnings(config, users)
    if security.users_file:
        found += exposure_warnings("security.users_file", security.users_file)
    if tls.cert:
        found += exposure_warnings("tls.key", tls.key or tls.cert)
        found += validity_warnings(tls.cert, datetime.now(UTC))
    if config.cluster:
        # A broker that is alone loads none of this.
        from stompy_broker.cluster_checks import cluster_warnings  # noqa: PLC0415

        found += cluster_warnings(config)
    return found


def _unknown_user_warnings(config: BrokerConfig, users: Mapping[str, str]) -> list[str]:
    """The users whom rules and roles name, and who cannot log in by a password; for people."""
    if config.tls.login_from:
        return []
    why = "there is no such user so far" if config.knows_users else "without users there is none"
    known = {*users, ANONYMOUS, EVERYBODY}
    return [f"{key} is nobody: {why}" for key, name in config.named_users() if name not in known]
