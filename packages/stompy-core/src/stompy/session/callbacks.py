"""What the application hands in to be called: whether it is of a kind that can be run. Pure.

A coroutine function in the hands of a caller that does not await it, and a generator function in
anybody's, return at once and do nothing. The message that they were called for would be
acknowledged, and gone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial


def check_callable(function: object, what: str) -> Callable[..., object]:
    """See that something can be called, and that calling it does what is written in it.

    Args:
        function: what was handed in.
        what: what it is to be called as, for the exception.

    Returns:
        The same.

    Raises:
        TypeError: it cannot be called, or is a generator function.
    """
    if not callable(function):
        raise TypeError(f"{what} must be callable, not {type(function).__name__}")
    if _is(function, inspect.isgeneratorfunction) or _is(function, inspect.isasyncgenfunction):
        raise TypeError(
            f"{what} must do its work when it is called, and {_name(function)} has a yield in it, "
            "so a call does nothing"
        )
    return function


def check_hook(function: object | None, what: str, remedy: str) -> None:
    """The same, where there may be none; see `check_plain`.

    Args:
        function: what was handed in; None = nothing.
        what: what it is to be called as, for the exception.
        remedy: what to do with a coroutine function.

    Raises:
        TypeError: it cannot be called, or calling it does nothing yet.
    """
    if function is not None:
        check_plain(function, what, remedy)


def check_plain(function: object, what: str, remedy: str) -> Callable[..., object]:
    """The same for a caller that awaits nothing.

    Args:
        function: what was handed in.
        what: what it is to be called as, for the exception.
        remedy: what to do with a coroutine function.

    Returns:
        The same.

    Raises:
        TypeError: it cannot be called, or calling it does nothing yet.
    """
    checked = check_callable(function, what)
    if _is(function, inspect.iscoroutinefunction):
        raise TypeError(
            f"{what} must be a plain function, and {_name(function)} is a coroutine function, "
            f"which nobody would await; {remedy}"
        )
    return checked


def check_done(answer: object, function: Callable[..., object]) -> None:
    """See that what a function returned is no work that nobody would do.

    Raises:
        TypeError: it is a coroutine, another awaitable, or a generator.
    """
    if answer is None:
        return
    if inspect.isawaitable(answer) or inspect.isgenerator(answer) or inspect.isasyncgen(answer):
        if inspect.iscoroutine(answer):
            answer.close()  # else Python warns that it was never awaited, somewhere else
        raise TypeError(
            f"{_name(function)} returned a {type(answer).__name__}, which nobody runs; "
            "its message is not done"
        )


def _is(function: object, kind: Callable[[object], bool]) -> bool:
    while isinstance(function, partial):
        function = function.func
    of_object = getattr(type(function), "__call__", None)  # noqa: B004 -- its kind is the question
    return kind(function) or kind(of_object)


def _name(function: object) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__qualname__", None) or type(function).__name__)
