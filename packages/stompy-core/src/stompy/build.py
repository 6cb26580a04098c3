"""Which modules a compiled wheel has in compiled form, and whether they run in it.

There is one source. The plain wheel is that source; a platform wheel has, beside it, the modules
of `MODULES` compiled by mypyc, and Python takes those. Whoever builds reads the list from here.

A module is in the list when it is on the path of every message, and nothing that an application
sees of it changes. So these are left out, with what they would lose:

* ``protocol.limits``, ``protocol.client``, ``protocol.server``, ``protocol.heartbeat``,
  ``protocol.version`` and ``protocol.frame``: texts and types in `help`, signatures, heirs;
  `Limits` could no longer be pickled.
* What inherits from a class that is not compiled, from `str` or from an exception.

``protocol.codec`` and ``protocol.header_cache`` are in it although `stompy.codec` shows them, being
half of what there is to gain. `stompy.as_written` gives them the looks of their source there, and
`stompy.compiler` says which classes may have heirs and copies. ``tests/architecture/test_forms.py``
compares everything public in both forms; what it finds different is mended or left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from typing import Literal

MODULES = (
    "stompy.protocol.codec",
    "stompy.protocol.header_cache",
    "stompy.protocol.headers",
    "stompy.protocol.message_heads",
    "stompy.protocol.send_heads",
    "stompy.session.commands",
)

Compiled = Literal["yes", "no", "partly"]


def compiled(modules: Iterable[str] = MODULES) -> Compiled:
    """Tell whether modules run compiled; by default, those of this package."""
    forms = {_is_compiled(module) for module in modules}
    if len(forms) > 1:
        return "partly"
    return "yes" if True in forms else "no"


def _is_compiled(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)
