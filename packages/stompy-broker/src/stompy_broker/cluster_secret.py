"""The secret of a cluster: its file, and the keys that are made of it.

Nobody uses the secret itself: each use has a key of its own, so that what one of them gives away
is of no use for another.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from stompy_broker.config import ConfigError

_BYTES = 32
_FEWEST = 32
"""Characters that a secret has at least."""

_MODE = 0o600
_OTHERS = 0o007


class ClusterSecret:
    """What all brokers of a cluster know, and nobody else.

    Args:
        octets: the secret.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def key(self, purpose: str) -> bytes:
        """Give the 32 bytes that stand for the secret in one use, and for nothing else in others.

        Args:
            purpose: which use, such as ``"link"``.
        """
        return hmac.digest(self._octets, f"stompy-cluster {purpose}".encode(), "sha256")

    def __repr__(self) -> str:
        """Never what it is."""
        return "<ClusterSecret>"


def read_secret(file: str) -> ClusterSecret:
    """Read the secret that a file has.

    Raises:
        ConfigError: there is none, or everybody on the machine may read it.
    """
    where = f"cluster.secret_file {file!r}"
    try:
        with Path(file).open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode & 0o777
            octets = opened.read(4096).strip()
    except OSError as error:
        raise ConfigError(
            f"{where} cannot be read: {error.strerror}; `stompy-broker cluster secret` makes one"
        ) from None
    if mode & _OTHERS:
        raise ConfigError(
            f"{where} is open to everybody on this machine (mode {mode:04o}): `chmod 600` it, and "
            "make a new secret if somebody may have read this one"
        )
    if len(octets) < _FEWEST:
        raise ConfigError(
            f"{where} holds {len(octets)} characters, and a secret has {_FEWEST} or more; "
            "`stompy-broker cluster secret` makes one"
        )
    return ClusterSecret(octets)


def write_secret(file: Path) -> None:
    """Make a new secret in a new file, which only its owner may read.

    Raises:
        OSError: the file is there already, or cannot be written.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    with os.fdopen(descriptor, "w", encoding="ascii") as new:
        new.write(f"{secrets.token_urlsafe(_BYTES)}\n")
        new.flush()
        os.fsync(new.fileno())
