"""The modules that every message passes may be compiled: they do nothing that forbids it.

An attribute of a class stays one: neither its own methods nor a subclass make it one of the
instance. Nobody changes a class of ours from outside. Slotted dataclasses are fine: their defaults
are no attributes of the class.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from tests.support.sources import Class, ancestors, classes, modules

import stompy.build
import stompy_broker.build

HOT = (
    "stompy.protocol.codec",
    "stompy.protocol.connection",
    "stompy.protocol.frame",
    "stompy.protocol.header_cache",
    "stompy.protocol.headers",
    "stompy.protocol.heartbeat",
    "stompy.protocol.limits",
    "stompy.protocol.client",
    "stompy.protocol.send_heads",
    "stompy.protocol.message_heads",
    "stompy.protocol.server",
    "stompy.session.commands",
    "stompy_broker.dedup_headers",
    "stompy_broker.group_headers",
    "stompy_broker.header_text",
    "stompy_broker.message",
    "stompy_broker.retain_headers",
    "stompy_broker.timers",
    "stompy_broker.destinations",
    "stompy_broker.routing",
    "stompy_broker.session",
    "stompy_broker.store.batch",
    "stompy_broker.store.entry_log",
    "stompy_broker.store.interface",
    "stompy_broker.store.log_changes",
    "stompy_broker.store.memory",
    "stompy_broker.store.sqlite",
    "stompy_broker.store.sqlite_logs",
    "stompy_broker.wire.connection",
    "stompy_broker.wire.websocket_output",
)
"""Modules, and folders with all that is in them."""


def is_hot(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in HOT)


def hot_classes() -> list[Class]:
    return [one for one in classes().values() if is_hot(one.module.name)]


def class_attributes(node: ast.ClassDef) -> set[str]:
    """What the class itself holds, beside its methods."""
    if any("slots=True" in ast.unparse(decorator) for decorator in node.decorator_list):
        return set()
    found = set()
    for one in node.body:
        if isinstance(one, ast.Assign):
            found |= {target.id for target in one.targets if isinstance(target, ast.Name)}
        elif isinstance(one, ast.AnnAssign) and one.value is not None:
            found |= {one.target.id} if isinstance(one.target, ast.Name) else set()
    return found - {"__slots__"}


def instance_attributes(one: Class) -> set[str]:
    """What its methods set on ``self``."""
    return {
        node.attr
        for method in one.methods()
        if method.args.args
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == method.args.args[0].arg
    }


def test_what_is_compiled_is_hot() -> None:
    compiled = (*stompy.build.MODULES, *stompy_broker.build.MODULES)
    assert [one for one in compiled if not is_hot(one)] == []


def test_heirs_of_what_can_be_copied_say_so_too() -> None:
    """A compiled heir that does not is made without its ``__init__``."""
    compiled = {*stompy.build.MODULES, *stompy_broker.build.MODULES}
    ours = {name: one for name, one in classes().items() if one.module.name in compiled}
    copied = {name for name, one in ours.items() if is_serializable(one.node)}
    assert {name for name in ours if ancestors(name) & copied} <= copied


def is_serializable(node: ast.ClassDef) -> bool:
    return any("serializable=True" in ast.unparse(one) for one in node.decorator_list)


def test_every_entry_is_there() -> None:
    names = modules()
    assert [one for one in HOT if not any(is_hot_by(one, name) for name in names)] == []


def is_hot_by(entry: str, name: str) -> bool:
    return name == entry or name.startswith(f"{entry}.")


@pytest.mark.parametrize("one", hot_classes(), ids=lambda one: one.name)
def test_an_attribute_of_a_class_stays_one(one: Class) -> None:
    family = [one, *(classes()[base] for base in ancestors(one.name) if base in classes())]
    shared = set().union(*(class_attributes(member.node) for member in family))
    own = set().union(*(instance_attributes(member) for member in family))
    assert shared & own == set()


def test_nobody_changes_a_class_from_outside() -> None:
    hot = {one.name for one in hot_classes()}
    changed = []
    for module in modules().values():
        for target in assigned(module.tree):
            owner = ast.unparse(target.value)
            where = module.imported.get(owner, f"{module.name}.{owner}")
            if where in hot or target.attr in {"__class__", "__bases__"}:
                changed.append(f"{module.path}:{target.lineno} {ast.unparse(target)}")
    assert changed == []


def assigned(tree: ast.Module) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node
