"""Which subscriptions a topic's name matches.

Words are separated by dots. ``*`` is one word; ``>`` or ``#`` at the end is the rest, also none:

==============  =======================  =============================
pattern         matches                  does not match
==============  =======================  =============================
``a.b``         ``a.b``                  ``a``, ``a.b.c``
``a.*``         ``a.b``                  ``a``, ``a.b.c``
``a.>``         ``a``, ``a.b``, ``a.b.c``  ``b``
``*.b``         ``a.b``                  ``$SYS.b``
``>``           ``a``, ``a.b``           ``$SYS``, ``$SYS.b``
==============  =======================  =============================

A leading wildcard never matches a word that begins with ``$``: those names are the broker's own.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

_CACHE_SIZE = 4096


class _Node(Generic[T]):
    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}  # in the order of arrival
        self.rest: dict[T, None] = {}

    @property
    def empty(self) -> bool:
        return not (self.children or self.here or self.rest)


class Matcher(Generic[T]):
    """A tree of patterns with a bounded memory of recent answers."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._recent: dict[str, tuple[T, ...]] = {}

    def add(self, pattern: str, item: T) -> None:
        """Have ``item`` found by every name that matches ``pattern``."""
        self._recent.clear()
        *words, last = pattern.split(".")
        node = self._root
        for word in words:
            node = node.children.setdefault(word, _Node())
        if last in (">", "#"):
            node.rest[item] = None
        else:
            node.children.setdefault(last, _Node()).here[item] = None

    def remove(self, pattern: str, item: T) -> None:
        """Undo `add`. Branches that hold nothing any more are cut off."""
        self._recent.clear()
        *words, last = pattern.split(".")
        path = [self._root]
        for word in words:
            path.append(path[-1].children[word])
        if last in (">", "#"):
            del path[-1].rest[item]
        else:
            words.append(last)
            path.append(path[-1].children[last])
            del path[-1].here[item]
        while len(path) > 1 and path.pop().empty:
            del path[-1].children[words.pop()]

    def match(self, name: str) -> tuple[T, ...]:
        """Everything whose pattern matches the name, each once."""
        found = self._recent.get(name)
        if found is None:
            items: dict[T, None] = {}
            self._collect(self._root, name.split("."), 0, items)
            found = tuple(items)
            if len(self._recent) >= _CACHE_SIZE:
                self._recent.clear()
            self._recent[name] = found
        return found

    def _collect(self, node: _Node[T], words: list[str], at: int, items: dict[T, None]) -> None:
        wild = at > 0 or not words[0].startswith("$")
        if wild:
            items.update(node.rest)
        if at == len(words):
            items.update(node.here)
            return
        exact = node.children.get(words[at])
        if exact is not None:
            self._collect(exact, words, at + 1, items)
        if wild:
            any_word = node.children.get("*")
            if any_word is not None:
                self._collect(any_word, words, at + 1, items)
