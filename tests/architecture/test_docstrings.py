"""A docstring of at most three words says an action and its object, or it says too little."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.sources import Function, modules

FEWEST_WORDS = 4

ENOUGH = {
    # Said completely, as short as they are.
    "Acknowledge a message.",
    "Choose the colours.",
    "Choose the columns.",
    "Clear all marks.",
    "Close at once.",
    "End the program.",
    "Filter while typing.",
    "Finish the file.",
    "Forget a message.",
    "Open the row.",
    "Receive a message.",
    "Refuse a message.",
    "Remember a message.",
    "Send a frame.",
    "Send a message.",
    "Show a notice.",
    "The CONNECTED frame.",
    "The empty expression.",
    "Type a filter.",
    "Undo `hold`.",
}


def public(node: ast.Module | ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The names and docstrings of what others may use."""
    for one in node.body:
        if isinstance(one, Function | ast.ClassDef) and not one.name.startswith("_"):
            yield one.name, ast.get_docstring(one) or ""
            if isinstance(one, ast.ClassDef):
                for name, text in public(one):
                    yield f"{one.name}.{name}", text


def test_docstrings_of_public_names_say_enough() -> None:
    short = [
        f"{module.path} {name}: {text}"
        for module in modules().values()
        for name, text in public(module.tree)
        if text and len(text.split()) < FEWEST_WORDS and text not in ENOUGH
    ]
    assert short == []


def test_every_exception_is_used() -> None:
    texts = {text for module in modules().values() for _, text in public(module.tree)}
    assert texts >= ENOUGH
