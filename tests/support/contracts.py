"""The rules and promises of the manual, as its own extension reads them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def _extension() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "conformance", ROOT / "docs" / "ext" / "conformance.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


conformance = _extension()
