"""What a user can tell of the public API, as JSON: run once for each form, and compared.

python -m tests.support.forms            the form that is installed
python -m tests.support.forms plain      plain Python, whatever lies beside the source
"""

from __future__ import annotations

import importlib
import inspect
import json
import pydoc
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
DOORS = (
    *("stompy", "stompy.admin", "stompy.aio", "stompy.client", "stompy.codec", "stompy.dialect"),
    *("stompy.frame", "stompy.health", "stompy.heartbeat", "stompy.message", "stompy.protocol"),
    *("stompy.subscriptions", "stompy_broker"),
)
OF_THE_COMPILER = {"__getstate__", "__mypyc_attrs__", "__new__", "__setstate__", "__slots__"}
"""What classes have in one form only; ``docs/install.md`` says so."""


class Plain:
    """Finds the source of our modules, past extension modules beside it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, leaf = name.rpartition(".")
        if path is None or package.partition(".")[0] not in {"stompy", "stompy_broker"}:
            return None
        file = Path(path[0]) / f"{leaf}.py"
        return spec_from_file_location(name, file) if file.exists() else None


def public() -> dict[str, Any]:
    """Everything that a door shows or the API reference names, by its name."""
    found = {}
    for door in DOORS:
        module = importlib.import_module(door)
        for name in getattr(module, "__all__", [one for one in vars(module) if one[0] != "_"]):
            found[f"{door}.{name}"] = getattr(module, name)
    pattern = r"^\.\. auto(?:class|exception|function):: (\S+)$"
    for name in re.findall(pattern, (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE):
        found[name] = pydoc.locate(name)
    return {name: one for name, one in found.items() if not isinstance(one, ModuleType)}


def looks(thing: Any) -> dict[str, object]:
    """What `inspect`, `help` and `dir` tell."""
    told: dict[str, object] = {"repr": repr(thing), "doc": inspect.getdoc(thing)}
    with suppress(TypeError, ValueError):
        told["signature"] = str(inspect.signature(thing))
    told["home"] = [getattr(thing, one, None) for one in ("__module__", "__qualname__")]
    if isinstance(thing, type):
        shown = [one for one in dir(thing) if one[:1] != "_" or one[:2] == one[-2:] == "__"]
        told["names"] = {
            name: kind(inspect.getattr_static(thing, name))
            for name in sorted({*shown} - OF_THE_COMPILER)
        }
        told["bases"] = [repr(base) for base in thing.__mro__]
    if isinstance(thing, type) or inspect.isroutine(thing):
        told["help"] = help_text(thing)
    return {name: json.loads(without_addresses(json.dumps(what))) for name, what in told.items()}


def kind(attribute: object) -> str:
    """What an attribute of a class is; a slot in C and one in Python are the same to users."""
    name = type(attribute).__name__
    return "slot" if name in {"getset_descriptor", "member_descriptor"} else name


def help_text(thing: Any) -> list[str]:
    """What `help` says, but for the entries that each compiled class has, and empty headings."""
    text = pydoc.plain(pydoc.render_doc(thing))
    entries = [re.sub(r"[ |]*\n[ |]*\Z", "", one) for one in re.split(r"\n \|  (?=\S)", text)]
    kept = [one for one in entries if re.split(r"\W", one, maxsplit=1)[0] not in OF_THE_COMPILER]
    heading = re.compile(r"-{20,}|.* (defined here|inherited from \S+):?")
    return [one for one in kept if not heading.fullmatch(one.strip(" |\n"))]


def without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def outcome(act: Callable[[], object]) -> list[object]:
    """What a call gives, or what it raises and where."""
    try:
        return ["gives", without_addresses(repr(act()))]
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [(Path(one.filename).name, one.name, one.lineno) for one in frames]
        ours = [one for one in ours if one[0] not in {"forms.py", "form_acts.py"}]
        # A method that calls what was compiled of it is there twice; the second tells where.
        there = {one[:2]: one for one in ours}.values()
        context = [type(one).__name__ for one in (error.__cause__, error.__context__) if one]
        return ["raises", type(error).__name__, str(error), [*map(list, there)], context]


def heirs(classes: dict[str, type]) -> dict[str, list[object]]:
    """Whether each class has heirs."""
    return {name: outcome(lambda: type("Heir", (base,), {})) for name, base in classes.items()}  # noqa: B023


def main() -> None:
    if sys.argv[1:] == ["plain"]:
        sys.meta_path.insert(0, Plain)
    shown = public()
    classes = {name: one for name, one in shown.items() if isinstance(one, type)}
    facts: dict[str, object] = {name: looks(thing) for name, thing in shown.items()}
    facts |= {f"heir of {name}": what for name, what in heirs(classes).items()}
    acts = importlib.import_module("tests.support.form_acts")
    facts |= {name: outcome(call) for name, call in acts.acts().items()}
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
