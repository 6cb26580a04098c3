"""Calls that show more arguments than their source: what they show is what the manual has.

autodoc looks for the defaults of a call in its source, one for each parameter, and stumbles over
parameters that are not there. So these calls have no source while the manual is built.
"""

from __future__ import annotations

import inspect
from types import FunctionType

from sphinx.application import Sphinx

import stompy
import stompy.aio

_CLASSES = (
    stompy.STOMPClient,
    stompy.STOMPTransaction,
    stompy.aio.STOMPClient,
    stompy.aio.STOMPTransaction,
)


def _without_source(call: FunctionType) -> FunctionType:
    """A function of the same kind that was never in a file."""
    kind = "async def" if inspect.iscoroutinefunction(call) else "def"
    made: dict[str, FunctionType] = {}
    exec(f"{kind} call(): ...", {}, made)  # nothing else has no source
    return made["call"]


def hide_sources(app: Sphinx) -> None:
    """Have autodoc take the signatures as they are shown."""
    for cls in _CLASSES:
        for call in vars(cls).values():
            if inspect.isfunction(call) and "__signature__" in vars(call):
                call.__wrapped__ = _without_source(call)  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", hide_sources)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
