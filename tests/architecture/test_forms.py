"""Both forms look and act alike to users: what `tests.support.forms` tells of each is compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from tests.support.forms import ROOT

from stompy import codec
from stompy.as_written import as_written
from stompy.build import compiled


def told(*form: str) -> dict[str, Any]:
    """What one form tells; the order of sets is that of the other."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.forms", *form],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        check=True,
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def differences(plain: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs, down to the single fact."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*plain, *other}):
        one, two = plain.get(name), other.get(name)
        if isinstance(one, dict) and isinstance(two, dict):
            found |= {f"{name}: {key}": both for key, both in differences(one, two).items()}
        elif one != two:
            found[name] = (one, two)
    return found


@pytest.mark.skipif(compiled() == "no", reason="there is one form here: make compile")
def test_users_cannot_tell_the_forms_apart() -> None:
    assert differences(told("plain"), told()) == {}


def test_what_is_told_is_not_nothing() -> None:
    plain = told("plain")
    parser = plain["stompy.codec.FrameParser"]
    assert parser["signature"].startswith("(limits: 'Limits' = Limits(")
    assert any(entry.startswith("feed(self, data: 'bytes')") for entry in parser["help"])
    assert plain["override remember"] == ["gives", "(2, 3, True, 1)"]
    kind, name, text, where, _context = plain["check that fails"]
    assert (kind, name) == ("raises", "LookupError")
    assert text == "a fault of the check of SEND"
    assert ["codec.py", "_parse"] in [step[:2] for step in where]


def test_a_difference_is_found() -> None:
    plain = {"a": {"doc": "text", "names": ["x"]}, "b": ["gives", "1"]}
    other = {"a": {"doc": None, "names": ["x"]}, "b": ["gives", "1"], "c": []}
    assert differences(plain, other) == {"a: doc": ("text", None), "c": (None, [])}


def test_plain_python_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("somewhere")
    monkeypatch.setitem(sys.modules, "somewhere", module)
    exec("class Here: pass", vars(module))
    before = dict(vars(module.Here))
    assert as_written(module.Here) is module.Here
    assert dict(vars(module.Here)) == before


@pytest.mark.parametrize("name", codec.__all__)
def test_the_door_explains_what_it_shows(name: str) -> None:
    assert getattr(codec, name).__doc__
