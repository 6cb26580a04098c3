"""How large a module, a function and a class may be (CONTRIBUTING, *Size*).

A module has at most 450 lines of code, a function 70. A class that grows is not cut into files by
inheritance: it gives work to objects that it owns.
"""

from __future__ import annotations

import ast

from tests.support.sources import Class, Function, ancestors, classes, modules

LONGEST_MODULE = 450
LONGEST_FUNCTION = 70


def test_no_module_is_too_long() -> None:
    sizes = {module.path: module.code_lines() for module in modules().values()}
    long = {path: size for path, size in sizes.items() if size > LONGEST_MODULE}
    assert long == {}


def test_no_function_is_too_long() -> None:
    sizes = {
        f"{module.path}:{node.lineno} {node.name}": size
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, Function) and (size := length(node)) > LONGEST_FUNCTION
    }
    assert sizes == {}


def length(function: Function) -> int:
    """How many lines do its work: neither its signature, a line for each option, nor its words."""
    work = function.body
    if ast.get_docstring(function, clean=False) is not None:
        work = work[1:]
    return (work[-1].end_lineno or 0) - work[0].lineno + 1 if work else 0


def test_no_class_is_cut_into_files() -> None:
    """A base that one class alone has, in another file, and that nobody else has a use for."""
    cut = set()
    for name, base in classes().items():
        heirs = [one for one in classes().values() if name in one.bases]
        if len(heirs) != 1 or heirs[0].module is base.module or is_a_contract(base):
            continue
        last = base.node.name
        users = {
            module.name
            for module in modules().values()
            if f"{base.module.name}.{last}" in module.imported.values()
        }
        if users <= {heirs[0].module.name}:
            cut.add(name)
    assert cut == set()


def is_a_contract(base: Class) -> bool:
    """Whether it is made to be derived from: a protocol, an exception, verbs that do nothing."""
    families = {one.rpartition(".")[2] for one in ancestors(base.name)}
    return (
        bool(families & {"Protocol", "Screen", "BaseModel"})
        or any(family.endswith(("Error", "Exception")) for family in families)
        or all(is_empty(method) for method in base.methods())
    )


def is_empty(method: Function) -> bool:
    """Whether it has a docstring at most."""
    return all(
        isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in method.body
    )
