"""What a client waits for before its next frame."""

from __future__ import annotations

from stompy_broker.session.question import Question


def test_who_waits_goes_on_once_it_is_told_and_not_when_it_has_left() -> None:
    told: list[str] = []
    question = Question()
    question.go_on()  # nobody waits yet
    question.wait(lambda: told.append("on"))
    question.go_on()
    assert told == ["on"]
    question.forget(lambda: None)
    question.go_on()
    assert told == ["on"]
