"""What a module says to the compiler that makes its compiled form. Plain Python ignores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_attributes):
        """The decorator of that name in ``mypy_extensions``, which need not be installed.

        ``allow_interpreted_subclasses`` and ``serializable``, which allows `copy` and `pickle`, are
        for the classes of `stompy.codec`. Neither costs anything that ``benchmarks/codec.py`` sees.
        """
        return lambda decorated: decorated
