"""The secret of a cluster is kept from everybody, and used for one thing at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from stompy_broker.cluster_secret import ClusterSecret, read_secret, write_secret
from stompy_broker.config import ConfigError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    write_secret(file)
    assert file.stat().st_mode & 0o777 == 0o600
    secret = read_secret(str(file))
    assert secret.key("link") == ClusterSecret(file.read_bytes().strip()).key("link")
    assert len(secret.key("link")) == 32
    assert secret.key("link") != secret.key("nats")


def test_two_secrets_are_two(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_secret(tmp_path / name)
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_secret(tmp_path / "secret")
    with pytest.raises(FileExistsError):
        write_secret(tmp_path / "secret")


def test_a_secret_does_not_show_itself() -> None:
    assert "tiger" not in repr(ClusterSecret(b"tiger" * 8))


def test_what_others_may_read_is_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    write_secret(file)
    file.chmod(0o640)
    read_secret(str(file))
    file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"secret_file .* everybody .* 0644.*chmod 600"):
        read_secret(str(file))


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(ConfigError, match=r"No such file.*`stompy-broker cluster secret`"):
        read_secret(str(file))
    file.write_text("tiger\n")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="5 characters") as caught:
        read_secret(str(file))
    assert "tiger" not in str(caught.value)
