"""How calls look that give a receipt id, or None: written once for both clients and transactions.

What comes back depends on one or two arguments, and type checkers do not take a variable that is
True or False apart by themselves: hence four signatures, or three. Only they read this module; the
calls keep the signatures that they were written with.

The parameters of the protocols are what comes back when nothing was asked for, when a receipt id
is certain, and when it depends: ``None``, ``str`` and ``str | None``, or coroutines that give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Generic, Literal, Protocol, TypeVar, overload
from zoneinfo import ZoneInfo

from stompy.session.commands import HeaderValue

N_co = TypeVar("N_co", covariant=True)
S_co = TypeVar("S_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
H_contra = TypeVar("H_contra", contravariant=True)
T = TypeVar("T")


class LooksLike(Generic[T]):
    """Shows a call to type checkers as one of the protocols below; the call stays what it is."""

    def __call__(self, function: Callable[..., object]) -> T:
        """Give the call back."""
        return function  # type: ignore[return-value]


class SendCall(Protocol[N_co, S_co, E_co]):
    """How ``client.send`` may be called."""

    @overload
    def __call__(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        receipt: Literal[False] = ...,
        *,
        confirm: Literal[False] = ...,
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> N_co: ...

    @overload
    def __call__(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        *,
        receipt: Literal[True] | str,
        confirm: bool = ...,
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> S_co: ...

    @overload
    def __call__(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        receipt: bool | str = ...,
        *,
        confirm: Literal[True],
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> S_co: ...

    @overload
    def __call__(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        receipt: bool | str = ...,
        *,
        confirm: bool = ...,
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> E_co: ...


class MessageCall(Protocol[N_co, S_co, E_co]):
    """How ``client.message`` may be called."""

    @overload
    def __call__(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: Literal[False] = ...,
        transaction: str | None = ...,
        *,
        confirm: Literal[False] = ...,
        timeout: float | None = ...,
        json: object = ...,
        delay: float | timedelta | None = ...,
        at: datetime | None = ...,
        cron: str | None = ...,
        zone: str | ZoneInfo | None = ...,
        every: float | timedelta | None = ...,
        times: int | None = ...,
        schedule_id: str | None = ...,
        group: str | int | None = ...,
        close_group: bool = ...,
        dedup: bool | str | None = ...,
        retain: bool = ...,
        filter_value: str | None = ...,
        **kv_headers: HeaderValue,
    ) -> N_co: ...

    @overload
    def __call__(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        *,
        receipt: Literal[True] | str,
        transaction: str | None = ...,
        confirm: bool = ...,
        timeout: float | None = ...,
        json: object = ...,
        delay: float | timedelta | None = ...,
        at: datetime | None = ...,
        cron: str | None = ...,
        zone: str | ZoneInfo | None = ...,
        every: float | timedelta | None = ...,
        times: int | None = ...,
        schedule_id: str | None = ...,
        group: str | int | None = ...,
        close_group: bool = ...,
        dedup: bool | str | None = ...,
        retain: bool = ...,
        filter_value: str | None = ...,
        **kv_headers: HeaderValue,
    ) -> S_co: ...

    @overload
    def __call__(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str = ...,
        transaction: str | None = ...,
        *,
        confirm: Literal[True],
        timeout: float | None = ...,
        json: object = ...,
        delay: float | timedelta | None = ...,
        at: datetime | None = ...,
        cron: str | None = ...,
        zone: str | ZoneInfo | None = ...,
        every: float | timedelta | None = ...,
        times: int | None = ...,
        schedule_id: str | None = ...,
        group: str | int | None = ...,
        close_group: bool = ...,
        dedup: bool | str | None = ...,
        retain: bool = ...,
        filter_value: str | None = ...,
        **kv_headers: HeaderValue,
    ) -> S_co: ...

    @overload
    def __call__(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str = ...,
        transaction: str | None = ...,
        *,
        confirm: bool = ...,
        timeout: float | None = ...,
        json: object = ...,
        delay: float | timedelta | None = ...,
        at: datetime | None = ...,
        cron: str | None = ...,
        zone: str | ZoneInfo | None = ...,
        every: float | timedelta | None = ...,
        times: int | None = ...,
        schedule_id: str | None = ...,
        group: str | int | None = ...,
        close_group: bool = ...,
        dedup: bool | str | None = ...,
        retain: bool = ...,
        filter_value: str | None = ...,
        **kv_headers: HeaderValue,
    ) -> E_co: ...


class UnsubscribeCall(Protocol[H_contra, N_co, E_co]):
    """How ``client.unsubscribe`` may be called; the first parameter is the subscription in hand."""

    @overload
    def __call__(
        self,
        sub_id: str | H_contra,
        *,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: Literal[False] = ...,
        **kv_headers: HeaderValue,
    ) -> N_co: ...

    @overload
    def __call__(
        self,
        sub_id: str | H_contra,
        *,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str,
        **kv_headers: HeaderValue,
    ) -> E_co: ...


class TransactionMessageCall(Protocol[N_co, S_co, E_co]):
    """How ``transaction.message`` may be called."""

    @overload
    def __call__(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: Literal[False] = ...,
        *,
        json: object = ...,
        delay: float | timedelta | None = ...,
        at: datetime | None = ...,
        cron: str | None = ...,
        zone: str | ZoneInfo | None = ...,
        every: float | timedelta | None = ...,
        times: int | None = ...,
        schedule_id: str | None = ...,
        group: str | int | None = ...,
        close_group: bool = ...,
        dedup: bool | str | None = ...,
        retain: bool = ...,
        filter_value: str | None = ...,
        **kv_headers: HeaderValue,
    ) -> N_co: ...

    @overload
    def __call__(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        *,
        receipt: Literal[True] | str,
        json: object = ...,
        delay: float | timedelta | None = ...,
        at: datetime | None = ...,
        cron: str | None = ...,
        zone: str | ZoneInfo | None = ...,
        every: float | timedelta | None = ...,
        times: int | None = ...,
        schedule_id: str | None = ...,
        group: str | int | None = ...,
        close_group: bool = ...,
        dedup: bool | str | None = ...,
        retain: bool = ...,
        filter_value: str | None = ...,
        **kv_headers: HeaderValue,
    ) -> S_co: ...

    @overload
    def __call__(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str = ...,
        *,
        json: object = ...,
        delay: float | timedelta | None = ...,
        at: datetime | None = ...,
        cron: str | None = ...,
        zone: str | ZoneInfo | None = ...,
        every: float | timedelta | None = ...,
        times: int | None = ...,
        schedule_id: str | None = ...,
        group: str | int | None = ...,
        close_group: bool = ...,
        dedup: bool | str | None = ...,
        retain: bool = ...,
        filter_value: str | None = ...,
        **kv_headers: HeaderValue,
    ) -> E_co: ...


class TransactionSendCall(Protocol[N_co, S_co, E_co]):
    """How ``transaction.send`` may be called."""

    @overload
    def __call__(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        receipt: Literal[False] = ...,
        **kv_headers: HeaderValue,
    ) -> N_co: ...

    @overload
    def __call__(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        *,
        receipt: Literal[True] | str,
        **kv_headers: HeaderValue,
    ) -> S_co: ...

    @overload
    def __call__(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        receipt: bool | str = ...,
        **kv_headers: HeaderValue,
    ) -> E_co: ...


class EndCall(Protocol[N_co, S_co, E_co]):
    """How ``transaction.commit`` and ``transaction.abort`` may be called."""

    @overload
    def __call__(self, receipt: Literal[False] | None = ...) -> N_co: ...

    @overload
    def __call__(self, receipt: Literal[True] | str) -> S_co: ...

    @overload
    def __call__(self, receipt: bool | str | None) -> E_co: ...
