"""Directives whose text is read from the code, so that the manual cannot differ from it.

``{settings} SECTION``
    The table of one section of `stompy_broker.config.BrokerConfig`.
``{error-codes}``
    The table of `stompy.errors.ErrorCode`.
``{admin-fields} KIND``
    The fields of one kind of rows of the admin topics, from `stompy.admin`.
``{admin-commands}``
    The commands to the broker, with roles and arguments.
``{admin-events}``
    The events that there are.
``{help-of} MODULE [SUB-COMMAND]``
    What ``python -m MODULE SUB-COMMAND --help`` prints, without the paragraphs that stand on the
    page already because another command prints them too (``:without: FIRST LINE, FIRST LINE``).

The functions that write the text know nothing of Sphinx; the tests of the manual call them too.
"""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from types import UnionType
from typing import Any, ClassVar, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le
from docutils import nodes
from docutils.parsers.rst import directives
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import OptionSpec

from stompy.admin import ROWS, Kind, QueueRow
from stompy.errors import ErrorCode
from stompy_broker.admin.service import command_table
from stompy_broker.config import BrokerConfig
from stompy_broker.events import EVENTS

_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_WORDS = {
    bool: "true or false",
    str: "text",
    ByteSize: "size",
    int: "whole number",
    float: "number",
}


# -- settings ----------------------------------------------------------------------------------


def section_model(section: str) -> type[BaseModel]:
    """The model of one section of the configuration; for ``[[policy]]`` that of one entry."""
    annotation = BrokerConfig.model_fields[section].annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(
        argument
        for argument in get_args(annotation)
        if isinstance(argument, type) and issubclass(argument, BaseModel)
    )


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The settings of a section by the keys that files have."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def settings_table(section: str) -> str:
    """The settings of a section as a Markdown table."""
    rows = [
        (f"`{name}`", type_words(field), default_words(field), field.description or "")
        for name, field in keys_of(section_model(section)).items()
    ]
    return table(("key", "type", "default", "meaning"), rows)


def default_words(field: FieldInfo) -> str:
    """The default of a setting, if it has one."""
    return "must be given" if field.is_required() else f"`{default_as_toml(field)}`"


def type_words(field: FieldInfo) -> str:
    """The type of a setting and its bounds, in words."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple and get_args(annotation)[1:] == (...,):
        inside = get_args(annotation)[0]
        return "list of texts" if inside is str else "list of sections"
    if get_origin(annotation) is dict:
        return "texts by name"
    if get_origin(annotation) is tuple:
        return "two whole numbers"
    if get_origin(annotation) in (Union, UnionType) or annotation not in _WORDS:
        raise TypeError(f"the manual has no words for the type {annotation!r}")
    return _WORDS[annotation] + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    least = next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)
    below = next((mark.gt for mark in field.metadata if isinstance(mark, Gt)), None)
    most = next((mark.le for mark in field.metadata if isinstance(mark, Le)), None)
    if below is not None:
        return f", {below + 1} or more" if field.annotation is int else f", more than {below}"
    if least is not None:
        return f", {least} or more" if most is None else f", {least} to {most}"
    return ""


def default_as_toml(field: FieldInfo) -> str:
    """A default as the configuration file would write it."""
    value = field.get_default(call_default_factory=True)
    if field.annotation is ByteSize:
        return _size(int(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        shown = (f'"{item}"' if isinstance(item, str) else str(item) for item in value)
        return f"[{', '.join(shown)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _size(value: int) -> str:
    for unit, name in _UNITS:
        if value and value % unit == 0:
            return f'"{value // unit}{name}"'
    return str(value)


# -- error codes -------------------------------------------------------------------------------


def error_code_table() -> str:
    """Every word of the ``error-code`` header and its meaning, from the docstrings."""
    docs = ModuleAnalyzer.for_module(ErrorCode.__module__).find_attr_docs()
    rows = [
        (f"`{code}`", " ".join(docs[ErrorCode.__name__, code.name]).strip().replace("``", "`"))
        for code in ErrorCode
    ]
    return table(("`error-code`", "meaning"), rows)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


# -- admin topics and commands -----------------------------------------------------------------


def admin_fields_table(kind: str) -> str:
    """The fields of one kind of rows as a Markdown table."""
    cls = ROWS[Kind(kind)]
    meanings = attributes_of(cls)
    rows = [
        (f"`{field.name}`", json_words(str(field.type)), _markdown(meanings[field.name]))
        for field in dataclasses.fields(cls)
        if field.name in inspect.get_annotations(cls)
    ]
    return table(("field", "type", "meaning"), rows)


def attributes_of(cls: type) -> dict[str, str]:
    """The meanings under *Attributes:* in a docstring."""
    lines = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[2].splitlines()
    meanings: dict[str, str] = {}
    name = ""
    for line in filter(str.strip, lines):
        found = re.match(r"    (\w+): (.*)", line)
        if found:
            name, meanings[found[1]] = found[1], found[2]
        elif name:
            meanings[name] += f" {line.strip()}"
    return meanings


def json_words(annotation: str) -> str:
    """The type of a field in JSON, in words."""
    plain, _, null = annotation.partition(" | ")
    words = {"str": "text", "int": "number", "float": "number", "bool": "true or false"}
    listed = plain.startswith("tuple[")
    return (words.get(plain) or ("list" if listed else "object")) + (" or null" if null else "")


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def admin_commands_table() -> str:
    """All commands as a Markdown table."""
    # The table is made by bound methods that are not called here.
    commands = command_table(cast(Any, None))
    rows = []
    for command in sorted(commands, key=lambda command: command.name):
        args = [
            f"`{argument.name}`" + (" (required)" if argument.required else "")
            for argument in command.args
        ]
        meaning = command.meaning + (" *Changes something.*" if command.changes else "")
        rows.append((f"`{command.name}`", command.role.value, ", ".join(args), meaning))
    return table(("command", "role", "arguments", "what it does"), rows)


def admin_events_table() -> str:
    """All events as a Markdown table."""
    return table(("event", "meaning"), [(f"`{name}`", words) for name, words in EVENTS.items()])


# -- command lines -----------------------------------------------------------------------------


def help_of(module: str, *words: str) -> str:
    """What a command prints when it is asked for help."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--help"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"COLUMNS": "90", "NO_COLOR": "1", "PYTHON_COLORS": "0"},
    )
    return done.stdout


# -- Sphinx ------------------------------------------------------------------------------------


class Settings(SphinxDirective):
    """``{settings} SECTION``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        model = section_model(self.arguments[0])
        self.env.note_dependency(sys.modules[model.__module__].__file__ or "")
        return self.parse_text_to_nodes(settings_table(self.arguments[0]))


class ErrorCodes(SphinxDirective):
    """``{error-codes}``."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(sys.modules[ErrorCode.__module__].__file__ or "")
        return self.parse_text_to_nodes(error_code_table())


class AdminFields(SphinxDirective):
    """``{admin-fields} KIND``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(sys.modules[QueueRow.__module__].__file__ or "")
        return self.parse_text_to_nodes(admin_fields_table(self.arguments[0]))


class AdminCommands(SphinxDirective):
    """``{admin-commands}``."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(admin_commands_table())


class AdminEvents(SphinxDirective):
    """``{admin-events}``."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(admin_events_table())


class HelpOf(SphinxDirective):
    """``{help-of} MODULE [SUB-COMMAND]``."""

    required_arguments = 1
    optional_arguments = 1
    option_spec: ClassVar[OptionSpec] = {"without": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        unwanted = tuple(line.strip() for line in self.options.get("without", "").split(","))
        paragraphs = help_of(*self.arguments).split("\n\n")
        text = "\n\n".join(p for p in paragraphs if p.partition("\n")[0] not in unwanted)
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("settings", Settings)
    app.add_directive("error-codes", ErrorCodes)
    app.add_directive("admin-fields", AdminFields)
    app.add_directive("admin-commands", AdminCommands)
    app.add_directive("admin-events", AdminEvents)
    app.add_directive("help-of", HelpOf)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
