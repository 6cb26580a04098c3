"""Shows what was compiled as its source says it: signatures, docstrings, and errors of calls.

The compiler keeps no docstring and no annotation. A public module whose classes run compiled hands
them to `as_written`. It reads their source, which lies beside the extension module, and puts
functions on the class whose signature and docstring are those of the source, and which call what
was compiled. Compiled callers go past them, so they pay nothing. In plain Python there is nothing
to do.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeVar

_Shown = TypeVar("_Shown", bound=Callable[..., Any])
_COMPILED = "__compiled__"
"""Under this name the functions find what they call."""
_ANNOTATIONS = annotations.compiler_flag
_METHODS = (FunctionType, property, classmethod, staticmethod)


def as_written(shown: _Shown) -> _Shown:
    """A class or function with the looks of its source; itself where it is not compiled."""
    module = sys.modules[shown.__module__]
    spec = module.__spec__
    if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
        return shown
    # Not what the module says of its file: one that another compiled module has loaded is wrong.
    package, _, name = module.__name__.rpartition(".")
    file = Path(sys.modules[package].__path__[0]) / f"{name}.py"
    definition = _definition(file, shown.__name__)
    namespace: dict[str, Any] = dict(vars(module))
    if isinstance(definition, ast.FunctionDef):
        namespace[_COMPILED] = {shown.__name__: shown}
        _make_caller(definition)
    else:
        namespace[_COMPILED] = dict(vars(shown))
        _make_callers(definition)
    for name in _names_of_defaults(definition):
        if isinstance(namespace.get(name), BuiltinFunctionType):
            # Pickle finds a function by its name in the module, and wants to find this one there.
            namespace[name] = as_written(namespace[name])
            setattr(module, name, namespace[name])
    code = compile(ast.Module([definition], type_ignores=[]), str(file), "exec", _ANNOTATIONS)
    exec(code, namespace)
    written: _Shown = namespace[shown.__name__]
    if not isinstance(shown, type):
        return written
    for name, value in vars(written).items():
        if name == "__doc__" or isinstance(value, _METHODS):
            setattr(shown, name, value)
    return shown


def _make_callers(definition: ast.ClassDef) -> None:
    """Leave of a class its docstring, and its public methods as functions that call."""
    methods = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
    public = [one for one in methods if one.name[0] != "_" or one.name[:2] == "__"]
    for method in public:
        _make_caller(method)
    definition.bases, definition.decorator_list = [], []
    definition.body = [*_docstring(definition), *public]


def _make_caller(definition: ast.FunctionDef) -> None:
    """Leave of a function its signature and docstring; it calls what was compiled of it."""
    arguments = definition.args
    passed = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    passed += [f"{one.arg}={one.arg}" for one in arguments.kwonlyargs]
    called = f"{_COMPILED}[{definition.name!r}]"
    decorators = [ast.unparse(one) for one in definition.decorator_list]
    if "property" in decorators:
        called += ".__get__"
    if f"{definition.name}.setter" in decorators:
        called += ".__set__"
    (call,) = ast.parse(f"return {called}({', '.join(passed)})").body
    for node in ast.walk(call):
        ast.copy_location(node, definition)
    definition.body = [*_docstring(definition), call]


def _docstring(definition: ast.FunctionDef | ast.ClassDef) -> list[ast.stmt]:
    return definition.body[:1] if ast.get_docstring(definition) is not None else []


def _names_of_defaults(definition: ast.AST) -> set[str]:
    arguments = [node for node in ast.walk(definition) if isinstance(node, ast.arguments)]
    defaults = [default for one in arguments for default in (*one.defaults, *one.kw_defaults)]
    return {default.id for default in defaults if isinstance(default, ast.Name)}


def _definition(file: Path, name: str) -> ast.FunctionDef | ast.ClassDef:
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise LookupError(f"{file} has no {name}")
