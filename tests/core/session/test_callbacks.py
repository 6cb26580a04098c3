"""What may be handed in to be called."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from stompy.session.callbacks import check_callable, check_done, check_plain


async def coroutine(*_: object) -> None: ...


def generator(*_: object) -> Iterator[int]:
    yield 1


async def async_generator(*_: object) -> AsyncIterator[int]:
    yield 1


class Asynchronous:
    async def __call__(self, message: object) -> None: ...

    async def method(self, message: object) -> None: ...


class Plain:
    def __call__(self, message: object) -> None: ...


@pytest.mark.parametrize(
    "function", [print, partial(print, 1), Plain(), Plain().__call__, lambda message: None, Plain]
)
def test_what_does_its_work_when_it_is_called(function):
    check_callable(function, "it")
    check_plain(function, "it", "")


@pytest.mark.parametrize(
    "function",
    [coroutine, partial(partial(coroutine, 1), 2), Asynchronous(), Asynchronous().method],
)
def test_a_coroutine_function_is_for_who_awaits(function):
    check_callable(function, "it")
    with pytest.raises(
        TypeError, match=r"it must be a plain function.* coroutine function.* do so"
    ):
        check_plain(function, "it", "do so")


@pytest.mark.parametrize("function", [generator, async_generator, partial(generator, 1)])
def test_a_function_with_yield_is_for_nobody(function):
    with pytest.raises(TypeError, match="generator has a yield in it, so a call does nothing"):
        check_callable(function, "it")


@pytest.mark.parametrize("function", [None, "work", 42])
def test_what_cannot_be_called(function):
    with pytest.raises(TypeError, match="it must be callable, not "):
        check_callable(function, "it")


def test_an_answer_that_is_work_to_be_done_is_none():
    for answer in (None, True, "text", [1], object()):
        check_done(answer, print)
    loop = asyncio.new_event_loop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for answer in (coroutine(), generator(), async_generator(), loop.create_future()):
            with pytest.raises(TypeError, match=r"print returned a .* its message is not done"):
                check_done(answer, print)
    loop.close()
