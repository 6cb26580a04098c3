"""The commands for several brokers."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from stompy_broker.cli import main
from stompy_broker.cluster_secret import read_secret


def cluster(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["cluster", *words])
    return result.exit_code, result.output


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    code, text = cluster("secret", str(file))
    assert code == 0
    assert str(file) in text
    assert file.read_text().strip() not in text
    read_secret(str(file))
    code, text = cluster("secret", str(file))
    assert code == 1
    assert "File exists" in text
