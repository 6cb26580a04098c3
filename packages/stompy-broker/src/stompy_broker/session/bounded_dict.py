"""A dictionary that keeps the entries that were put into it last."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 1000


class BoundedDict(Generic[K, V]):
    """The last entries: at least `REMEMBERED`, at most twice as many; older ones are forgotten."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def put(self, key: K, value: V) -> None:
        """Add an entry, and forget the oldest ones if there are too many."""
        if len(self._new) >= REMEMBERED:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def get(self, key: K) -> V | None:
        """The value of an entry; None if it is not known (any more)."""
        value = self._new.get(key)
        return self._old.get(key) if value is None else value

    def __contains__(self, key: K) -> bool:
        return key in self._new or key in self._old

    def __iter__(self) -> Iterator[K]:
        return chain(self._new, self._old)
