"""What can be opened with ``await``, or with ``async with``, which closes it again."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar


class Closing(Protocol):
    """An asynchronous context manager that gives itself."""

    async def __aenter__(self) -> object:
        """Begin what the block is for, and give what it works with."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it, whatever left the block."""


T = TypeVar("T", bound=Closing)

_REMEDY = "write `await` or `async with` before it"


class Opening(Generic[T]):
    """Something that is not open yet.

    ``x = await opening`` opens it and leaves the closing to you; ``async with opening as x:``
    does both.
    """

    def __init__(self, coroutine: Coroutine[object, None, T]) -> None:
        self._coroutine = coroutine
        self._opened: T | None = None

    def __await__(self) -> Generator[object, None, T]:
        """Open it and give what was opened."""
        return self._coroutine.__await__()

    async def __aenter__(self) -> T:
        """Open it and give what was opened."""
        self._opened = await self._coroutine
        await self._opened.__aenter__()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what was opened, if it was."""
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, traceback)

    if not TYPE_CHECKING:  # which finds these mistakes by itself, and not if such names exist

        def __getattr__(self, name: str) -> NoReturn:
            """Nothing is there before it is open."""
            raise AttributeError(f"there is no {name!r} before it is open: {_REMEDY}")

        def __enter__(self) -> NoReturn:
            """Refused: to open it takes waiting."""
            raise self._misused("with")

        def __exit__(self, *_: object) -> None:
            """What has an entry has an exit."""

        def __aiter__(self) -> NoReturn:
            """Refused: it is not open."""
            raise self._misused("async for")

    def _misused(self, by: str) -> TypeError:
        self._coroutine.close()  # its own warning, that nobody awaited it, would say less
        return TypeError(f"`{by}` cannot be used with what is not open: {_REMEDY}")

    def __repr__(self) -> str:
        """What to do with it, for whoever has forgotten to."""
        return f"<to be opened: {_REMEDY}>"
