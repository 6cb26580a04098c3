"""The file of users: a line for each, login and password hash with a colon between.

Blank lines and lines that begin with ``#`` are passed over. The file is replaced as a whole, so a
broker that reads it meanwhile sees the old one or the new one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from stompy_broker.security.auth import ANONYMOUS, is_hash

_HEADING = "# Users of stompy-broker; edit with `stompy-broker user`.\n"
_MODE = 0o600


class UsersFileError(Exception):
    """A users file that cannot be used; the text names file, line and reason, and no hash."""


def check_login(login: str) -> None:
    """Whether a login can stand in the file.

    Raises:
        UsersFileError: it cannot.
    """
    if not login or not login.isprintable() or ":" in login or login != login.strip():
        raise UsersFileError(
            f"{login!r} cannot be a login: no colon, no control characters, no blanks at the ends"
        )
    if login in (ANONYMOUS, "*"):
        raise UsersFileError(f"{login!r} cannot be a login: rules have another meaning for it")
    if login.startswith("#"):
        raise UsersFileError(f"{login!r} cannot be a login: a line with '#' is a comment")


def read_users(file: Path) -> dict[str, str]:
    """The password hash of each login.

    Raises:
        UsersFileError: the file cannot be read, or a line of it is not right.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise UsersFileError(f"{file}: cannot be read: {reason}") from None
    users: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        login, colon, password_hash = line.partition(":")
        try:
            check_login(login)
        except UsersFileError:
            raise UsersFileError(f"{file}: line {number}: has no login") from None
        if not colon or not is_hash(password_hash.strip()):
            raise UsersFileError(
                f"{file}: line {number}: {login!r} has no password hash; use "
                "`stompy-broker user set-password`"
            )
        if login in users:
            raise UsersFileError(f"{file}: line {number}: {login!r} stands there twice")
        users[login] = password_hash.strip()
    return users


def exposure_warnings(key: str, file: str) -> list[str]:
    """What to say of a file with secrets that everybody on the machine may read; for people."""
    try:
        mode = Path(file).stat().st_mode & 0o777
    except OSError:
        return []
    if not mode & 0o007:
        return []
    return [f"{key} {file!r} is open to everybody on this machine (mode {mode:04o}); chmod o= it"]


def write_users(file: Path, users: Mapping[str, str]) -> None:
    """Replace the file, which only its owner may read. A link to it stays one.

    Raises:
        UsersFileError: it cannot be written.
    """
    text = _HEADING + "".join(f"{login}:{users[login]}\n" for login in sorted(users))
    try:
        file = file.resolve()
        mode = file.stat().st_mode & 0o777 if file.exists() else _MODE
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as new:
                new.write(text)
                new.flush()
                os.fsync(new.fileno())
            Path(name).chmod(mode)
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise UsersFileError(f"{file}: cannot be written: {error.strerror}") from None
