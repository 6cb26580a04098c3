"""A batch at its front: what it tells, and who waits for what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.verbs import (
    AdmitVerb,
    Answer,
    AttachVerb,
    BrowseVerb,
    ControlVerb,
    NothingVerb,
    OnceVerb,
    PublishVerb,
    Refusals,
    ResumeVerb,
    StatsVerb,
    TookVerb,
    Verb,
    WithdrawVerb,
)
from stompy_broker.routing.answers import Done

log = logging.getLogger("stompy_broker.cluster")

UNKNOWN_TENURE = (1 << 64) - 1
"""Of a batch that somebody may have carried out of whom nothing is known."""

Answered = Callable[[Answer], None]
Asking = AttachVerb | AdmitVerb | StatsVerb | BrowseVerb | ControlVerb | OnceVerb


@dataclass(slots=True)
class FrontBatch:
    """What one turn told the queues of one group.

    Attributes:
        number: which batch it is.
        verbs: what it tells.
        index: of the next verb that has an answer.
        size: bytes of its messages.
        passing: bytes of those that will be lost with the owner.
        now: whom to call when it is carried out, by index; -1 = cannot be refused.
        later: whom to call when it is safe, by index.
        answers: who takes the answer of a verb, by index.
        refused: messages that were refused, by index.
        executed: whether some owner has carried it out.
        tenure: of the owner to whom it was sent; 0 = to none, `UNKNOWN_TENURE` = to several.
        unheard: whether it was sent to an owner who has not said yet which tenure it has.
        explicit: whether each of its messages with a duplicate id has an answer, because it was
            sent before: that it is carried out may be told before it has come again. Else those
            that were taken have none.
    """

    number: int
    verbs: list[Verb] = field(default_factory=list)
    index: int = 0
    size: int = 0
    passing: int = 0
    now: list[tuple[int, Done]] = field(default_factory=list)
    later: list[tuple[int, Done]] = field(default_factory=list)
    answers: dict[int, tuple[Asking, Answered]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    executed: bool = False
    tenure: int = 0
    unheard: bool = False
    explicit: bool = False

    def sent(self, tenure: int) -> None:
        """It was sent to the owner of this tenure."""
        self.unheard = False
        self.tenure = tenure if self.tenure in (0, tenure) else UNKNOWN_TENURE

    def refuse(self, index: int, error: ProtocolError) -> None:
        """One of its messages was refused."""
        self.refused.add(index)
        self.now = [one for one in self.now if one[0] != index]
        self.later = [one for one in self.later if one[0] != index]
        at = 0
        for verb in self.verbs:
            count = _indexes(verb)
            if at <= index < at + count:
                refused: Refusals = None
                if isinstance(verb, PublishVerb):
                    refused = verb.refused[index - at]
                elif isinstance(verb, OnceVerb):
                    refused = verb.refused
                if refused is not None:
                    refused(error)
                return
            at += count

    def again(self, is_stored: Callable[[str], bool], told: Collection[int]) -> Iterator[Verb]:
        """What to tell the next owner of it.

        Args:
            is_stored: whether messages to a queue survive, by its name.
            told: the consumers that the owner knows of already.
        """
        at = 0
        for verb in self.verbs:
            count = _indexes(verb)
            if isinstance(verb, PublishVerb):
                passing = self.executed and not (
                    verb.head.traits.persistent and is_stored(verb.queue)
                )
                yield from self._publish_again(verb, at, passing=passing)
            elif isinstance(verb, OnceVerb):
                # Known by its id, it may be told again: also what was dropped is dropped again.
                lost = self.executed and not (verb.head.traits.persistent and is_stored(verb.queue))
                yield NothingVerb(1) if lost or at in self.refused else verb
            elif isinstance(verb, ResumeVerb | WithdrawVerb):
                if verb.consumer not in told:
                    yield verb
            elif isinstance(verb, Asking):
                yield verb if at in self.answers else NothingVerb(1)
            elif not isinstance(verb, TookVerb):
                yield verb
            at += count

    def _publish_again(self, verb: PublishVerb, at: int, *, passing: bool) -> Iterator[Verb]:
        count = len(verb.bodies)
        if passing:
            yield NothingVerb(count)
            return
        if self.refused.isdisjoint(range(at, at + count)):
            yield verb
            return
        for number in range(count):
            if at + number in self.refused:
                yield NothingVerb(1)
            else:
                one = slice(number, number + 1)
                yield PublishVerb(
                    verb.queue,
                    verb.head,
                    verb.refusable,
                    verb.past,
                    verb.bodies[one],
                    verb.refused[one],
                )

    def call_now(self) -> None:
        """It is carried out: tell who waited."""
        self.executed = True
        now, self.now = self._split(self.now)
        _call(now)

    def call_later(self) -> None:
        """It is safe now: tell who waited."""
        later, self.later = self._split(self.later)
        _call(later)

    def _split(
        self, waiting: list[tuple[int, Done]]
    ) -> tuple[list[tuple[int, Done]], list[tuple[int, Done]]]:
        """Those who can be told, and those who wait for an answer before."""
        if not self.explicit:
            return waiting, []
        answers = self.answers
        held = [
            one for one in waiting if one[0] in answers and isinstance(answers[one[0]][0], OnceVerb)
        ]
        return [one for one in waiting if one not in held], held

    def answered(self, index: int) -> None:
        """A message has its answer: tell who waited for that alone."""
        if self.executed and self.now:
            now = [one for one in self.now if one[0] == index]
            self.now = [one for one in self.now if one[0] != index]
            _call(now)


def _indexes(verb: Verb) -> int:
    """How many indexes a verb takes."""
    if isinstance(verb, PublishVerb):
        return len(verb.bodies)
    if isinstance(verb, NothingVerb):
        return verb.count
    return int(isinstance(verb, Asking))


def _call(waiting: list[tuple[int, Done]]) -> None:
    for _, done in waiting:
        try:
            done()
        except Exception:
            log.exception("fault in what was to follow a batch")
