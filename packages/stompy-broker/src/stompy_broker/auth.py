"""Who may log in, and in which role. Passwords are kept as salted Argon2 hashes, slow on purpose.

A check of a hash takes tens of milliseconds, so it runs beside the event loop; whoever asks is
called back. Unknown names take as long as wrong passwords.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from stompy.admin.rows import Role

__all__ = [
    "ANONYMOUS",
    "Anyone",
    "Authenticator",
    "Credentials",
    "Principal",
    "Role",
    "Users",
    "hash_password",
    "is_hash",
    "matches",
]

ANONYMOUS = "anonymous"

_hasher = PasswordHasher()

# Checked when the name is unknown, so that names cannot be told by the time an answer takes.
_NOBODY = _hasher.hash("no such user")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is on the other side, and what that one may do with the broker itself."""

    name: str
    role: Role = Role.NONE
    client_id: str | None = None
    """The ``client-id`` of CONNECT; chosen freely, so it proves nothing."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody brings to a login."""

    login: str | None
    passcode: str | None = field(repr=False)
    host: str = ""
    """The IP address that the connection comes from."""
    certificate: str | None = None
    """The login that a verified certificate stands for."""


class Authenticator(Protocol):
    """Decides about logins."""

    def authenticate(
        self,
        credentials: Credentials,
        done: Callable[[Principal | None], None],
    ) -> None:
        """Call ``done`` with who it is, or None to refuse; now or later, on the loop's thread."""
        ...


class Anyone:
    """Lets everybody in, under the login given or as `ANONYMOUS`.

    Args:
        role: the role of everybody. A name proves nothing here, so it cannot depend on the name.
    """

    def __init__(self, role: Role = Role.NONE) -> None:
        self._role = role

    def authenticate(
        self,
        credentials: Credentials,
        done: Callable[[Principal | None], None],
    ) -> None:
        """At once."""
        done(Principal(credentials.login or ANONYMOUS, self._role))


class Users:
    """Lets in users whose password is right.

    Args:
        hashes: password hash by login.
        anonymous: whether somebody without login may come in.
        role_of: the role that goes with a name.
        beside: runs a function on another thread, then calls back with its result.
    """

    def __init__(
        self,
        hashes: Mapping[str, str],
        *,
        anonymous: bool,
        role_of: Callable[[str], Role] = lambda name: Role.NONE,
        beside: Callable[[Callable[[], bool], Callable[[bool], None]], None],
    ) -> None:
        self._hashes = dict(hashes)
        self._anonymous = anonymous
        self._role_of = role_of
        self._beside = beside

    def authenticate(
        self,
        credentials: Credentials,
        done: Callable[[Principal | None], None],
    ) -> None:
        """Later, except for certificates and anonymous access."""
        login, passcode = credentials.login, credentials.passcode
        certificate = credentials.certificate
        if certificate is not None and passcode is None and login in (None, certificate):
            done(self._principal(certificate))
            return
        if login is None and passcode is None and self._anonymous:
            done(self._principal(ANONYMOUS))
            return
        name = login or ""
        known = self._hashes.get(name)

        def check() -> bool:
            return matches(known or _NOBODY, passcode or "") and known is not None

        self._beside(check, lambda right: done(self._principal(name) if right else None))

    def renew(self, hashes: Mapping[str, str]) -> set[str]:
        """Replace all users; give the logins that are gone or have another password."""
        old, self._hashes = self._hashes, dict(hashes)
        return {login for login, known in old.items() if hashes.get(login) != known}

    def _principal(self, name: str) -> Principal:
        return Principal(name, self._role_of(name))


def hash_password(password: str) -> str:
    """A salted hash to put into the configuration."""
    return _hasher.hash(password)


def matches(password_hash: str, password: str) -> bool:
    """Whether a password is the one that was hashed; the comparison takes constant time."""
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def is_hash(text: str) -> bool:
    """Whether a text looks like what `hash_password` gives."""
    try:
        _hasher.check_needs_rehash(text)
    except InvalidHashError:
        return False
    return True
