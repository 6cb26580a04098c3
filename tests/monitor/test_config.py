"""The configuration file, read by the command itself."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.docs.blocks import blocks
from tests.support.dashboard import dashboard, on_a_loop

from stompy_broker import running
from stompy_monitor import cli
from stompy_monitor import config as configuration
from stompy_monitor.app import check_keys
from stompy_monitor.cli import main
from stompy_monitor.dashboard import Options
from stompy_monitor.themes import full_name

WHOLE = """
url = "stomp://ops:s3cr3t@broker.example:61613"
theme = "light"
interval = 5
read-only = true

[columns]
queues = ["name", "ready"]
topics = ["name", "in"]

[alarm]
oldest = { warn = "90s", critical = "1h" }
dead-letters = { warn = 5, critical = 50 }

[keys]
"table.filter" = "ctrl+f"

[profile.night]
interval = 30
passcode = "hidden"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(WHOLE, "utf-8")
    return path


def run(*arguments: str, **environment: str) -> Result:
    without = dict.fromkeys(("STOMPY_URL", "STOMPY_THEME", "STOMPY_LOGIN", "STOMPY_PASSCODE"))
    return CliRunner().invoke(main, arguments, env={**without, **environment})


def shown(*arguments: str, **environment: str) -> dict[str, str]:
    result = run(*arguments, "--show-config", **environment)
    assert result.exit_code == 0, result.output
    return dict(line.split(" = ", 1) for line in result.output.splitlines())


def test_a_file_says_what_the_command_line_does_not(file: Path) -> None:
    told = shown("--config", str(file))
    assert told["theme"] == f"light  ({file})"
    assert told["interval"] == f"5.0  ({file})"
    assert told["read-only"] == f"true  ({file})"
    assert told["columns.queues"] == "name,ready  (file)"
    assert told["columns.topics"] == "name,in  (file)"
    assert told["fps"] == "4.0  (default)"
    assert told["alarm.oldest"] == "90000, 3.6e+06  (file)"
    assert told["alarm.dead-letters"] == "5, 50  (file)"
    assert told["alarm.age"] == "30000, 300000  (default)"
    assert told["keys.table.filter"] == "ctrl+f  (file)"


def test_flag_before_environment_before_profile_before_file(file: Path) -> None:
    by_profile = shown("--profile", "night", "--config", str(file))
    assert by_profile["interval"] == "30.0  (profile night)"
    told = shown(
        "--profile", "night", "--config", str(file), "--interval", "2", STOMPY_THEME="dark"
    )
    assert told["interval"] == "2.0  (command line)"
    assert told["theme"] == "dark  ($STOMPY_THEME)"


def test_secrets_are_masked(file: Path) -> None:
    result = run("--config", str(file), "--profile", "night", "--show-config")
    assert "url = stomp://ops:***@broker.example:61613" in result.output
    assert "passcode = ***" in result.output
    assert "s3cr3t" not in result.output
    assert "hidden" not in result.output


def test_the_file_of_the_user_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.default_path().name == "config.toml"
    monkeypatch.setattr(configuration, "default_path", lambda: file)
    assert shown()["theme"] == f"light  ({file})"
    monkeypatch.setattr(configuration, "default_path", lambda: file.with_name("absent"))
    assert shown()["theme"] == "-  (default)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fps = 99", "fps: 99.0 is not in the range"),
        ("colour = 'red'", "colour: is no option"),
        ("once = true", "once: is for the command line only"),
        ("a = ", "Invalid value (at end"),
        ("columns = ['name']", "columns: a list for each view is wanted, as in [columns]"),
        ("[columns]\ncues = ['name']", "columns.cues: there is no such view: queues"),
        ("[columns]\nqueues = 'name'", "columns.queues: a list of names is wanted"),
        ("profile = 1", "profile: a table is wanted"),
        ("[profile.day]\nread-only = 'maybe'", "profile.day.read-only: 'maybe' is not"),
        ("[keys]\n'table.filter' = 1", "keys.table.filter: the name of a key is wanted"),
        ("[alarm]\nages = { warn = '1s', critical = '2s' }", "there is no alarm “ages”"),
        ("[alarm]\nage = { warn = '1s' }", "alarm.age: warn and critical are wanted"),
        ("[alarm]\nage = { warn = 1, critical = 2 }", "alarm.age.warn: a time with its unit"),
        ("[alarm]\nage = { warn = '9s', critical = '2s' }", "alarm.age: warn comes before"),
        ("[alarm]\nage = { warn = '5k', critical = '9k' }", "alarm.age.warn: a time with its unit"),
        ("[alarm]\nlimit = { warn = 80, critical = 95 }", "alarm.limit.warn: a share, such as"),
        ("[alarm]\nlogins = { warn = '1m', critical = '2m' }", "alarm.logins.warn: how many a min"),
        ("interval = nan", "interval: nan is not a number"),
    ],
)
def test_what_is_wrong_names_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text, "utf-8")
    result = run("--config", str(file), "--once")
    assert result.exit_code == 2
    assert f"{file}: {words}" in result.output


def test_a_file_or_profile_that_is_not_there(file: Path) -> None:
    absent = file.with_name("absent.toml")
    assert f"{absent}: No such file" in run("--config", str(absent)).output
    result = run("--config", str(file), "--profile", "day")
    assert result.exit_code == 2
    assert "there is no profile 'day'; known: night" in result.output


def test_a_key_for_what_there_is_not() -> None:
    check_keys({"table.filter": "ctrl+f", "app.quit": "ctrl+x"})
    with pytest.raises(ValueError, match=r"keys.table.fliter: there is no such key; known: act\."):
        check_keys({"table.fliter": "x"})


def test_a_log_file_tells_of_the_connection(tmp_path: Path) -> None:
    result = run("--log-file", str(tmp_path / "absent" / "log"), "--once")
    assert result.exit_code == 2
    assert f"--log-file {tmp_path / 'absent' / 'log'}: No such file" in result.output
    log = tmp_path / "log"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"stomp://127.0.0.1:{closed.getsockname()[1]}"
        command = [sys.executable, "-m", "stompy_monitor", url, "--once", "--log-file", str(log)]
        subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert f"INFO stompy: no connection to {url}" in log.read_text("utf-8")


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Options:
    """How the dashboard would begin."""
    looks = []
    monkeypatch.setattr(cli, "show", lambda *args, **_: looks.append(args[2]) or 0)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return Options(**{**looks[0], "theme": full_name(str(looks[0]["theme"]))})


def test_the_file_of_the_manual_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks("docs/monitor/index.md", "toml")
    file = tmp_path / "config.toml"
    file.write_text(block.code, "utf-8")
    options = started(monkeypatch, "--config", str(file))
    assert options.columns_of["queues"] == ("name", "ready", "in", "oldest_ms")
    check_keys(options.keys)
    night = started(monkeypatch, "--config", str(file), "--profile", "night")
    assert night.read_only


def test_a_column_that_there_is_not(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[columns]\nqueues = ['nmae']", "utf-8")
    result = run("--config", str(file))
    assert result.exit_code == 2
    assert "columns.queues: queues has no column 'nmae': name, broker, ready" in result.output


@on_a_loop
async def test_each_view_has_its_columns() -> None:
    columns = {"queues": ("name", "ready"), "topics": ("name",)}
    with running() as broker:
        async with dashboard(broker.url, Options(columns_of=columns)) as drive:
            for key, names in (("2", {"name", "ready"}), ("4", {"name"}), ("5", None)):
                await drive.press(key)
                assert drive.table.rows.chosen == names
