"""What a fork of the process inherits, and is told that it is not its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Protocol

logger = logging.getLogger("stompy")


class Inherited(Protocol):
    """Something that belongs to the process that made it."""

    def after_fork(self) -> None:
        """In a child process: let go of everything."""


def tell_children(everything: Iterable[Inherited]) -> None:
    """Have each of these told in every child process; it may hold more by then."""

    def tell() -> None:
        for one in list(everything):
            try:
                one.after_fork()
            except Exception:
                # The others have to be told, whatever became of this one.
                logger.exception("fault in a fork, with what it inherited")

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=tell)
