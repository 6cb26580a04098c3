"""Which modules a compiled wheel has in compiled form, and whether they run in it.

`stompy.build` says what may stand in such a list.
"""

from __future__ import annotations

import stompy.build
from stompy.build import Compiled

MODULES = ("stompy_broker.message",)


def compiled() -> Compiled:
    """Tell whether the modules of this package and of `stompy` run compiled."""
    return stompy.build.compiled((*stompy.build.MODULES, *MODULES))
