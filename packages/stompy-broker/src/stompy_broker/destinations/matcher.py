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

What a match costs is bounded, whatever was subscribed to:

* Patterns without wildcard are found by their name.
* Patterns of one *shape*, that is with wildcards in the same places, are found together by their
  other words. Subscribers usually have a few shapes, however many they are.
* Whoever has more shapes than there should be would make each match dear: twelve words that are
  ``a`` or ``*`` have 4,096. Their patterns stand in tables of 1,024, a bit for each, and a word
  strikes out all that do not fit at once. A match takes some microseconds for each table.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from stompy_broker.destinations.patterns import is_slashed, words_of

T = TypeVar("T")

_CACHE_SIZE = 4096

_REST = frozenset((">", "#"))


class _Shape(Generic[T]):
    """Patterns with wildcards in the same places.

    Args:
        places: where their other words stand.
        length: how many words there are before the rest, or in all.
        has_rest: whether they end with a wildcard for the rest.
    """

    __slots__ = ("_has_rest", "_length", "_places", "items")

    def __init__(self, places: tuple[int, ...], length: int, *, has_rest: bool) -> None:
        self._places = places
        self._length = length
        self._has_rest = has_rest
        self.items: dict[tuple[str, ...], dict[T, None]] = {}

    def find(self, words: list[str]) -> dict[T, None] | None:
        """What the pattern of this shape that fits the words stands for."""
        length = self._length
        if len(words) != length and not (self._has_rest and len(words) > length):
            return None
        if words[0].startswith("$") and self._places[:1] != (0,):
            return None
        return self.items.get(tuple([words[place] for place in self._places]))


class _Table(Generic[T]):
    """Patterns of any shape, each of which is a bit.

    Args:
        size: how many there may be.
    """

    def __init__(self, size: int) -> None:
        self.items: dict[int, dict[T, None]] = {}
        self._unused = list(range(size))
        self._words: dict[tuple[int, str], int] = {}  # who has this word at this place
        self._any: dict[int, int] = {}  # who has a wildcard for one word there
        self._rest: dict[int, int] = {}  # who has one for the rest behind so many words
        self._length: dict[int, int] = {}  # who has so many words and no more

    @property
    def full(self) -> bool:
        """Whether there is no place for another one."""
        return not self._unused

    def add(self, words: list[str]) -> int:
        """Take a pattern in; gives its number."""
        number = self._unused.pop()
        self._turn(words, 1 << number)
        self.items[number] = {}
        return number

    def remove(self, words: list[str], number: int) -> None:
        """Take a pattern out that `add` has taken in."""
        self._turn(words, 1 << number)
        del self.items[number]
        self._unused.append(number)

    def find(self, words: list[str], found: dict[T, None]) -> None:
        """Add what the patterns that fit stand for."""
        alive = self._length.get(len(words), 0)
        for length, rows in self._rest.items():
            if length <= len(words):
                alive |= rows
        done = self._rest.get(0, 0)
        if words[0].startswith("$"):
            alive &= self._words.get((0, words[0]), 0)
        for place, word in enumerate(words):
            if not alive & ~done:
                break
            alive &= self._words.get((place, word), 0) | self._any.get(place, 0) | done
            done |= self._rest.get(place + 1, 0)
        while alive:
            number = alive.bit_length() - 1
            alive ^= 1 << number
            found.update(self.items[number])

    def _turn(self, words: list[str], row: int) -> None:
        *_, last = words
        has_rest = last in _REST
        for place, word in enumerate(words[:-1] if has_rest else words):
            if word == "*":
                _flip(self._any, place, row)
            else:
                _flip(self._words, (place, word), row)
        _flip(self._rest if has_rest else self._length, len(words) - has_rest, row)


K = TypeVar("K")


def _flip(rows: dict[K, int], key: K, row: int) -> None:
    left = rows.get(key, 0) ^ row
    if left:
        rows[key] = left
    else:
        del rows[key]


class Matcher(Generic[T]):
    """Patterns, and a bounded memory of recent answers.

    Args:
        shapes: how many shapes may have their patterns found by their words.
        rows: how many other patterns stand in a table.
        slashes: whether patterns may be read between slashes, as those of topics are
            (`stompy_broker.destinations.patterns`).
    """

    def __init__(self, *, shapes: int = 64, rows: int = 1024, slashes: bool = False) -> None:
        self._slashes = slashes
        self._by_slashes: Matcher[T] | None = None  # of those patterns, with dots for slashes
        self._most_shapes = shapes
        self._rows = rows
        self._names: dict[str, dict[T, None]] = {}
        self._shapes: dict[tuple[tuple[int, ...], int, bool], _Shape[T]] = {}
        self._tables: list[_Table[T]] = []
        self._in_table: dict[str, tuple[_Table[T], int]] = {}
        self._recent: dict[str, tuple[T, ...]] = {}

    def add(self, pattern: str, item: T) -> None:
        """Have ``item`` found by every name that matches ``pattern``."""
        self._recent.clear()
        if self._slashes and is_slashed(pattern):
            if self._by_slashes is None:
                self._by_slashes = Matcher(shapes=self._most_shapes, rows=self._rows)
            self._by_slashes.add(_with_dots(pattern), item)
            return
        words = pattern.split(".")
        if _is_plain(words):
            self._names.setdefault(pattern, {})[item] = None
            return
        key, others = _shape_of(words)
        shape, place = self._shapes.get(key), self._in_table.get(pattern)
        if place is None:
            if shape is None and len(self._shapes) < self._most_shapes:
                places, length, has_rest = key
                shape = self._shapes[key] = _Shape(places, length, has_rest=has_rest)
            if shape is not None:
                shape.items.setdefault(others, {})[item] = None
                return
            place = self._in_table[pattern] = self._row_for(words)
        table, number = place
        table.items[number][item] = None

    def remove(self, pattern: str, item: T) -> None:
        """Have an item no longer found by a pattern, undoing `add`."""
        self._recent.clear()
        if self._slashes and is_slashed(pattern):
            assert self._by_slashes is not None
            self._by_slashes.remove(_with_dots(pattern), item)
            return
        words = pattern.split(".")
        if _is_plain(words):
            _take(self._names, pattern, item)
        elif pattern in self._in_table:
            table, number = self._in_table[pattern]
            del table.items[number][item]
            if not table.items[number]:
                table.remove(words, number)
                del self._in_table[pattern]
                if not table.items:
                    self._tables.remove(table)
        else:
            key, others = _shape_of(words)
            shape = self._shapes[key]
            _take(shape.items, others, item)
            if not shape.items:
                del self._shapes[key]

    def match(self, name: str) -> tuple[T, ...]:
        """Everything whose pattern matches the name, each once."""
        found = self._recent.get(name)
        if found is None:
            items: dict[T, None] = dict(self._names.get(name, ()))
            words = name.split(".")
            for shape in self._shapes.values():
                items.update(shape.find(words) or ())
            for table in self._tables:
                table.find(words, items)
            if self._by_slashes is not None:
                items.update(dict.fromkeys(self._by_slashes.match(_turned(name))))
            found = tuple(items)
            if len(self._recent) >= _CACHE_SIZE:
                self._recent.clear()
            self._recent[name] = found
        return found

    def _row_for(self, words: list[str]) -> tuple[_Table[T], int]:
        table = next((table for table in self._tables if not table.full), None)
        if table is None:
            table = _Table(self._rows)
            self._tables.append(table)
        return table, table.add(words)


def _with_dots(pattern: str) -> str:
    """A pattern whose words are between slashes, written with dots."""
    return ".".join(words_of(pattern))


def _turned(name: str) -> str:
    """A name with dots for slashes. Dots in it are part of words, and look as nothing else does."""
    return name.replace(".", "\0").replace("/", ".")


def _is_plain(words: list[str]) -> bool:
    return "*" not in words and words[-1] not in _REST


def _shape_of(words: list[str]) -> tuple[tuple[tuple[int, ...], int, bool], tuple[str, ...]]:
    """What patterns of one shape have in common, and the words in which they differ."""
    has_rest = words[-1] in _REST
    if has_rest:
        words = words[:-1]
    places = tuple([place for place, word in enumerate(words) if word != "*"])
    return (places, len(words), has_rest), tuple([words[place] for place in places])


def _take(items: dict[K, dict[T, None]], key: K, item: T) -> None:
    del items[key][item]
    if not items[key]:
        del items[key]
