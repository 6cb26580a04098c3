"""Who may log in, and in which role. Passwords are kept as salted Argon2 hashes, slow on purpose.

A check of a hash takes tens of milliseconds, so it runs beside the event loop; whoever asks is
called back. Unknown names take as long as wrong passwords. What was right is remembered for a
while, so that the many connections of one program cost one check.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from stompy.admin.rows import Role
from stompy.errors import ErrorCode, ProtocolError

__all__ = [
    "ANONYMOUS",
    "Anyone",
    "Authenticator",
    "Credentials",
    "KeyedHash",
    "PasscodeCache",
    "Principal",
    "Role",
    "Users",
    "Verdict",
    "hash_password",
    "is_hash",
    "matches",
]

ANONYMOUS = "anonymous"

log = logging.getLogger("stompy_broker.auth")

# The least that OWASP asks for. A check keeps one core busy for 20 ms and needs 19 MiB, which is
# what an attacker can have of us at a time; the library's own choice is four cores and 64 MiB.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

_REMEMBERED = 10_000
"""Logins whose passcode is remembered; the one that came longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is on the other side, and what that one may do with the broker itself."""

    name: str
    role: Role = Role.NONE
    client_id: str | None = None
    """The ``client-id`` of CONNECT; chosen freely, so it proves nothing."""
    proved: bool = field(default=True, compare=False)
    """Whether the name was proved. Without users anybody may call himself anything."""

    @property
    def owner(self) -> str:
        """Whose is what it makes; empty = nobody's, because names prove nothing."""
        return self.name if self.proved else ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody brings to a login."""

    login: str | None
    passcode: str | None = field(repr=False)
    host: str = ""
    """The IP address that the connection comes from."""
    certificate: str | None = None
    """The login that a verified certificate stands for."""


Verdict = Principal | ProtocolError
"""Who it is, or why not."""


class Authenticator(Protocol):
    """Decides who somebody is who logs in."""

    def decide_at_once(self, credentials: Credentials) -> Verdict | None:
        """What can be said without a check; None = a check is needed."""
        ...

    def check(self, credentials: Credentials, done: Callable[[Verdict], None]) -> None:
        """Call ``done`` with the verdict; now or later, on the loop's thread."""
        ...


class Anyone:
    """Lets everybody in, under the login given or as `ANONYMOUS`.

    Args:
        role: the role of everybody. A name proves nothing here, so it cannot depend on the name.

    Attributes:
        role: the same; may change.
    """

    def __init__(self, role: Role = Role.NONE) -> None:
        self.role = role

    def decide_at_once(self, credentials: Credentials) -> Verdict | None:
        """Let everybody in, at once."""
        return Principal(credentials.login or ANONYMOUS, self.role, proved=False)

    def check(self, credentials: Credentials, done: Callable[[Verdict], None]) -> None:
        """Let everybody in: nothing is checked."""
        done(Principal(credentials.login or ANONYMOUS, self.role, proved=False))


class KeyedHash:
    """Hashes texts with a key that only this process has: without it a digest says nothing."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def digest(self, *texts: str) -> bytes:
        """The HMAC-SHA-256 of some texts, each of which keeps its bounds."""
        parts = [text.encode("utf-8", "surrogateescape") for text in texts]
        lengths = b",".join(b"%d" % len(part) for part in parts)
        return hmac.digest(self._key, b"".join((lengths, b":", *parts)), "sha256")


class PasscodeCache:
    """Passcodes that were right lately, as keyed hashes.

    Args:
        seconds: for how long; 0 = not at all.
        now: gives the time in seconds.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._keyed_hash = KeyedHash()
        self._rows: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def has(self, login: str, passcode: str) -> bool:
        """Whether this passcode was right lately."""
        known, until = self._rows.get(login, (b"", 0.0))
        digest = self._keyed_hash.digest(login, passcode)
        return self._now() < until and hmac.compare_digest(known, digest)

    def add(self, login: str, passcode: str) -> None:
        """Remember that a passcode is right."""
        if self._seconds:
            digest = self._keyed_hash.digest(login, passcode)
            self._rows[login] = (digest, self._now() + self._seconds)
            self._rows.move_to_end(login)
            if len(self._rows) > _REMEMBERED:
                self._rows.popitem(last=False)

    def discard(self, login: str) -> None:
        """Forget the passcode of a login that failed."""
        self._rows.pop(login, None)

    def clear(self) -> None:
        """Forget all: the users are others now."""
        self._rows.clear()


class Users:
    """Lets users in whose password is right.

    Args:
        hashes: password hash by login.
        anonymous: whether somebody without login may come in.
        role_of: the role that goes with a name.
        run_in_thread: runs a function on another thread, then calls back with its result.
        cache: passcodes that were right lately; None = nothing is remembered.
    """

    def __init__(
        self,
        hashes: Mapping[str, str],
        *,
        anonymous: bool,
        role_of: Callable[[str], Role] = lambda name: Role.NONE,
        run_in_thread: Callable[[Callable[[], bool | None], Callable[[bool | None], None]], None],
        cache: PasscodeCache | None = None,
    ) -> None:
        self._hashes = dict(hashes)
        self._anonymous = anonymous
        self._role_of = role_of
        self._run_in_thread = run_in_thread
        self._cache = cache or PasscodeCache(0, lambda: 0.0)
        self._keyed_hash = KeyedHash()

    def decide_at_once(self, credentials: Credentials) -> Verdict | None:
        """Decide about certificates and anonymous access, where there is nothing to check."""
        login, passcode = credentials.login, credentials.passcode
        certificate = credentials.certificate
        if certificate is not None and passcode is None and login in (None, certificate):
            return self._principal(certificate)
        if login is not None or passcode is not None:
            return None
        if self._anonymous:
            return self._principal(ANONYMOUS)
        return ProtocolError(
            ErrorCode.AUTHENTICATION_FAILED, "this broker needs a login, and CONNECT has none"
        )

    def check(self, credentials: Credentials, done: Callable[[Verdict], None]) -> None:
        """Compare the passcode with what is remembered, or on a thread with the hash."""
        name, passcode = credentials.login or "", credentials.passcode or ""
        if self._cache.has(name, passcode):
            done(self._principal(name))
            return
        known = self._hashes.get(name)
        compared = known or self._decoy(name)

        def check() -> bool | None:
            try:
                return matches(compared, passcode)
            except VerificationError:
                return None

        def checked(right: bool | None) -> None:
            if right is None:
                log.error("a passcode could not be checked; there may be too little memory")
                words = "the broker cannot check logins just now"
                done(ProtocolError(ErrorCode.LIMIT_EXCEEDED, words))
            # The users may have been renewed meanwhile.
            elif right and known is not None and self._hashes.get(name) == known:
                self._cache.add(name, passcode)
                done(self._principal(name))
            else:
                self._cache.discard(name)
                words = "login or passcode is wrong"
                done(ProtocolError(ErrorCode.AUTHENTICATION_FAILED, words))

        self._run_in_thread(check, checked)

    def renew(self, hashes: Mapping[str, str]) -> set[str]:
        """Replace all users; give the logins that are gone or have another password."""
        old, self._hashes = self._hashes, dict(hashes)
        self._cache.clear()
        return {login for login, known in old.items() if hashes.get(login) != known}

    def _decoy(self, name: str) -> str:
        """The hash to compare with when a name is unknown.

        That of another user, always the same for one name: so unknown names take as long as known
        ones also where the hashes were made with different costs.
        """
        if not self._hashes:
            return _nobody()
        place = int.from_bytes(self._keyed_hash.digest(name)) % len(self._hashes)
        return list(self._hashes.values())[place]

    def _principal(self, name: str) -> Principal:
        return Principal(name, self._role_of(name))


@cache
def _nobody() -> str:
    return _hasher.hash(secrets.token_hex())


def hash_password(password: str) -> str:
    """A salted hash to put into the configuration."""
    return _hasher.hash(password.encode("utf-8", "surrogateescape"))


def matches(password_hash: str, password: str) -> bool:
    """Whether a password is the one that was hashed; the comparison takes constant time.

    Raises:
        VerificationError: it could not be found out, as for want of memory.
    """
    try:
        return _hasher.verify(password_hash, password.encode("utf-8", "surrogateescape"))
    except (VerifyMismatchError, InvalidHashError):
        return False


def is_hash(text: str) -> bool:
    """Whether a text looks like what `hash_password` gives."""
    try:
        _hasher.check_needs_rehash(text)
    except InvalidHashError:
        return False
    return True
