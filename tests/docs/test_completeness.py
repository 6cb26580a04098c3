"""The manual names everything there is: options, settings, error codes, public names."""

import ast
import dataclasses
import importlib.util
import inspect
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from tests.docs.blocks import DOCS, PAGES, ROOT, blocks, pages_with

import stompy
import stompy.admin.rows
import stompy.aio
import stompy_broker
import stompy_broker.cli
import stompy_monitor.cli
from stompy.admin import ROWS, CommandErrorCode, Kind, Role
from stompy_broker.broker_headers import BROKER_HEADERS
from stompy_broker.foreign_headers import NAMES
from stompy_broker.routing.stats import QueueStats
from stompy_monitor.app import check_keys

SECTIONS = stompy_broker.BrokerConfig.model_fields
CLICK = {"stompy-broker": stompy_broker.cli.main, "stompy-monitor": stompy_monitor.cli.main}


def load_extension() -> ModuleType:
    spec = importlib.util.spec_from_file_location("from_code", DOCS / "ext" / "from_code.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


from_code = load_extension()


# -- command lines -----------------------------------------------------------------------------


@cache
def stompy_help(*words: str) -> str:
    return from_code.help_of("stompy", *words)


def stompy_commands() -> list[str]:
    return re.findall(r"^    (\w+)  ", stompy_help(), re.MULTILINE)


def options_of(command: click.Command) -> set[str]:
    found = {option for parameter in command.params for option in parameter.opts}
    for inner in getattr(command, "commands", {}).values():
        found |= options_of(inner)
    return {option for option in found if option.startswith("-")} | {"--help"}


@cache
def options(command: str) -> set[str]:
    if command in CLICK:
        return options_of(CLICK[command])
    texts = [stompy_help(), *map(stompy_help, stompy_commands())]
    return {option for text in texts for option in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text)}


def test_the_helper_finds_options():
    assert "--port" in options("stompy-broker")
    assert "--password" in options("stompy-broker")
    assert "--json" in options("stompy-monitor")
    assert {"send", "listen"} <= set(stompy_commands())
    assert "--lines" in options("stompy")


def test_every_command_of_stompy_has_its_help_on_the_page():
    page = PAGES["docs/commands.md"]
    assert "```{help-of} stompy\n" in page
    assert [
        name for name in stompy_commands() if f"```{{help-of}} stompy {name}\n" not in page
    ] == []


@pytest.mark.parametrize("command", CLICK)
def test_the_click_commands_are_on_the_page_with_all_they_have(command):
    module = command.replace("-", "_")
    expected = f".. click:: {module}.cli:main\n   :prog: {command}\n   :nested: full\n"
    assert expected in PAGES["docs/commands.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_options_in_shell_examples_exist(page):
    unknown = [
        (block.line, option)
        for block in (*blocks(page, "sh"), *blocks(page, ""))
        for part in re.split(r"[|;\n]", block.code)
        if (command := re.match(r"\s*(stompy(-broker|-monitor)?)\b", part))
        for option in re.findall(r" (--?[a-zA-Z][\w-]*)", part.partition("#")[0])
        if option not in options(command[1])
    ]
    assert unknown == []


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_the_configuration_is_on_the_page(section):
    page = PAGES["docs/configuration.md"]
    assert f"## [{section}]\n" in page or f"## [[{section}]]\n" in page
    assert section == "users" or f"```{{settings}} {section}\n" in page


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "users"])
def test_the_generated_table_has_every_key_with_type_default_and_meaning(section):
    rows = from_code.settings_table(section).splitlines()[2:]
    keys = from_code.keys_of(from_code.section_model(section))
    assert [row.split("`")[1] for row in rows] == list(keys)
    assert all(cell.strip() for row in rows for cell in row.split(" | "))


def test_the_page_says_of_every_key_of_policies_what_a_reload_does_with_it():
    page = PAGES["docs/configuration.md"]
    table = page.partition("(config-policy-reload)=")[2].partition("\n## ")[0]
    keys = from_code.keys_of(from_code.section_model("policy"))
    assert [key for key in keys if f"`{key}`" not in table] == ["match"]


def test_the_example_file_is_valid_and_complete():
    stompy_broker.load_config(DOCS / "broker.toml")
    content = tomllib.loads((DOCS / "broker.toml").read_text("utf-8"))
    assert list(content) == list(SECTIONS)
    lists = ("acl", "policy", "exchange", "route", "quota")
    for section in content.keys() - {"users", *lists}:
        assert list(content[section]) == list(from_code.section_model(section).model_fields)
    for section in lists:
        used = {key for entry in content[section] for key in entry}
        assert used == set(from_code.keys_of(from_code.section_model(section)))


def test_the_example_file_shows_the_defaults():
    shown = stompy_broker.load_config(DOCS / "broker.toml")
    defaults = stompy_broker.BrokerConfig()
    lists: dict[str, object] = dict.fromkeys(("acl", "policy", "exchange", "route", "quota"), ())
    assert shown.model_copy(update={"users": {}, **lists}) == defaults


def test_the_configuration_of_the_monitor_in_examples_is_valid(tmp_path):
    for block in blocks("docs/monitor/index.md", "toml"):
        file = tmp_path / "config.toml"
        file.write_text(block.code, "utf-8")
        arguments = ["--config", str(file), "--profile", "night", "--show-config"]
        result = CliRunner().invoke(stompy_monitor.cli.main, arguments)
        assert result.exit_code == 0, result.output
        keys = tomllib.loads(block.code)["keys"]
        check_keys(keys)


@pytest.mark.parametrize("page", [p for p in pages_with("toml") if "/monitor/" not in str(p)])
def test_the_settings_in_examples_exist(page):
    for block in blocks(page, "toml"):
        for section, content in tomllib.loads(block.code).items():
            assert section in SECTIONS, f"{page}:{block.line}: [{section}]"
            known = (
                None if section == "users" else from_code.keys_of(from_code.section_model(section))
            )
            for entry in content if isinstance(content, list) else [content]:
                wrong = [] if known is None else sorted(entry.keys() - known.keys())
                assert wrong == [], f"{page}:{block.line}: [{section}]"


def test_json_examples_are_json():
    for page in pages_with("json"):
        for block in blocks(page, "json"):
            json.loads(block.code)


# -- words and names ---------------------------------------------------------------------------


def test_every_error_code_is_explained():
    assert "```{error-codes}\n" in PAGES["docs/wire.md"]
    rows = from_code.error_code_table().splitlines()[2:]
    explained = [re.fullmatch(r"\| `([a-z-]+)` \| \w.+ \|", row)[1] for row in rows]
    assert explained == list(stompy.ErrorCode)


@pytest.mark.parametrize("package", [stompy, stompy.admin, stompy.aio, stompy_broker])
def test_every_public_name_is_in_the_reference(package):
    reference = PAGES["docs/api.md"]
    elsewhere = {name for name in package.__all__ if name.isupper()} | {"__version__"}
    if package is stompy.admin:
        # Rows and their parts: the page about admin topics has their fields.
        elsewhere |= vars(stompy.admin.rows).keys() - {"Kind", "Role"}
    names = [f"{package.__name__}.{name}" for name in package.__all__ if name not in elsewhere]
    assert [name for name in names if f":: {name}\n" not in reference] == []


def test_every_public_call_of_the_client_is_in_its_manual():
    manual = PAGES["docs/client.md"]
    calls = [name for name in dir(stompy.STOMPClient) if not name.startswith("_")]
    assert [name for name in calls if not re.search(rf"\b{name}\b", manual)] == []


OPTIONS_OF = [
    stompy.STOMPClient,
    stompy.STOMPTransaction,
    stompy.Subscription,
    stompy.Message,
    stompy.Confirmation,
    stompy.Reconnect,
    stompy.TLS,
]
"""Whose calls' arguments are in the manual and explained where they stand."""

MANUAL = ("client", "reconnection", "delivery", "dialects")


def arguments(cls: type) -> Iterator[tuple[str, str, inspect.Parameter]]:
    """The arguments of the public calls of a class, with the docstring that explains them."""
    if dataclasses.is_dataclass(cls):
        for one in inspect.signature(cls).parameters.values():
            yield cls.__name__, Path(inspect.getsourcefile(cls) or "").read_text(), one
        return
    for name, call in inspect.getmembers(cls, inspect.isfunction):
        if name in vars(cls) and not name.startswith("_"):
            _, *taken = inspect.signature(call).parameters.values()
            for one in taken:
                yield f"{cls.__name__}.{name}", inspect.getdoc(call) or "", one


@pytest.mark.parametrize("cls", OPTIONS_OF)
def test_every_argument_is_explained_where_it_stands(cls):
    missing = [
        f"{call}({one.name}=)"
        for call, doc, one in arguments(cls)
        if not re.search(rf"^ *{one.name}: |(arguments as for|; see) `", doc, re.MULTILINE)
    ]
    assert missing == []


@pytest.mark.parametrize("cls", OPTIONS_OF)
def test_every_option_is_in_the_manual(cls):
    manual = "".join(PAGES[f"docs/{page}.md"] for page in MANUAL)
    missing = [
        f"{call}({one.name}=)"
        for call, _, one in arguments(cls)
        if one.default is not one.empty and not re.search(rf"`{one.name}`|\b{one.name}=", manual)
    ]
    assert missing == []


def test_every_header_that_is_kept_back_is_listed():
    assert [name for name in BROKER_HEADERS if f"`{name}`" not in PAGES["docs/wire.md"]] == []


def test_every_header_that_is_refused_is_listed():
    assert [name for name in sorted(NAMES) if f"`{name}" not in PAGES["docs/wire.md"]] == []


HEADER_LIKE = re.compile(r"[a-z]+(-[a-z]+)+|activemq\.\w+")


def headers_read(file: Path) -> set[str]:
    """The names of headers that a module looks for.

    ``headers.get("…")``, ``"…" in headers``, and whatever looks like a header's name.
    """
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=base, attr="get" | "pop"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                pass
            case ast.Subscript(value=base, slice=ast.Constant(value=str(name))):
                pass
            case ast.Compare(left=ast.Constant(value=str(name)), comparators=[base]):
                pass
            case ast.Constant(value=str(name)):
                base = ast.Name("headers" if HEADER_LIKE.fullmatch(name) else "")
            case _:
                continue
        if "headers" in ast.unparse(base).lower():
            found.add(name)
    return found


def test_every_header_that_the_broker_reads_is_documented():
    folder = ROOT / "packages" / "stompy-broker" / "src" / "stompy_broker"
    files = [*folder.glob("session/*.py"), *folder.glob("routing/*.py"), folder / "message.py"]
    read = set().union(*map(headers_read, files))
    assert {"prefetch-count", "requeue", "client-id", "durable"} <= read
    text = "\n".join(PAGES.values())
    assert sorted(name for name in read if not re.search(rf"`{re.escape(name)}\b", text)) == []


def test_every_counter_is_explained():
    names = [field.name for field in dataclasses.fields(QueueStats)]
    assert [name for name in names if f"`{name}`" not in PAGES["docs/embedding.md"]] == []


# -- admin topics ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_every_field_of_the_admin_topics_is_explained(kind):
    assert f"```{{admin-fields}} {kind}\n" in PAGES["docs/admin.md"]
    rows = [row.split(" | ") for row in from_code.admin_fields_table(kind).splitlines()[2:]]
    own = ROWS[kind].__annotations__
    assert [row[0].split("`")[1] for row in rows] == list(own)
    assert all(cell.strip(" |") for row in rows for cell in row)


def test_every_command_and_event_is_explained():
    page = PAGES["docs/admin.md"]
    assert "```{admin-commands}\n" in page
    assert "```{admin-events}\n" in page
    assert "| `queue.purge` | operator |" in from_code.admin_commands_table()
    assert "| `queue.purged` | " in from_code.admin_events_table()
    assert [code for code in CommandErrorCode if f"`{code}`" not in page] == []
    assert [role for role in Role if f"| `{role}` |" not in page] == []


# -- pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    folder = (ROOT / page).parent
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[page])
    # The tutorials are copied into the manual when it is built.
    places = {
        target: ROOT / target if target.startswith("notebooks/") else folder / target
        for target in targets
    }
    assert [target for target, place in places.items() if not place.exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_built_manual_has_every_option_setting_and_error_code(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-b", "text"]
    command += ["-D", "nb_execution_mode=off", str(DOCS)]
    subprocess.run([*command, str(tmp_path)], check=True, timeout=100)
    text = "\n".join(page.read_text("utf-8") for page in Path(tmp_path).glob("*.txt"))
    expected = {code.value for code in stompy.ErrorCode}
    for name in ("stompy", *CLICK):
        expected |= options(name) - {"--help"}
    for section in SECTIONS.keys() - {"users"}:
        expected |= set(from_code.section_model(section).model_fields)
    assert sorted(word for word in expected if word not in text) == []
