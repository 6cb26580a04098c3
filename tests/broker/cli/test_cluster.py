"""The commands for several brokers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.cluster_control import ToldControl, member_of
from tests.support.cluster_status import ToldCluster

from stompy_broker.admin.cluster_status import MemberFacts, ServerFacts
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


@pytest.fixture
def control() -> ToldControl:
    told = ToldCluster("ann", {0: "ann", 1: "bob", 2: "ann"})
    told.known = [MemberFacts("ann", "alive", "a:1", "1.0"), MemberFacts("bob")]
    told.nats = [ServerFacts("n1", "leader", "a:2", "2.15.1", "always")]
    return ToldControl(told)


@pytest.fixture
def asking(control: ToldControl, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ...]]:
    """The options that say which broker is meant."""
    monkeypatch.setenv("STOMPY_PASSCODE", "secret")
    with member_of(control) as broker:
        yield ("--url", f"stomp://127.0.0.1:{broker.port}", "--login", "admin")


def test_the_status_is_a_table(asking: tuple[str, ...], control: ToldControl) -> None:
    code, text = cluster("status", *asking)
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert ["ann", "alive", "a:1", "1.0", "0", "2"] in lines
    assert ["bob", "alive", "1"] in lines
    assert ["n1", "leader", "a:2", "2.15.1", "always"] in lines
    assert "without an owner" not in text
    control.cluster.owners[2] = ""
    code, text = cluster("status", *asking)
    assert code == 3
    assert "groups without an owner: 2" in text


@pytest.mark.parametrize(
    ("members", "servers"),
    [([MemberFacts("ann", "draining")], []), ([], [ServerFacts("n1", "lost")])],
)
def test_a_cluster_that_is_not_whole(
    asking: tuple[str, ...],
    control: ToldControl,
    members: list[MemberFacts],
    servers: list[ServerFacts],
) -> None:
    control.cluster.known, control.cluster.nats = members, servers
    assert cluster("status", *asking)[0] == 3


def test_the_status_for_programs(asking: tuple[str, ...]) -> None:
    code, text = cluster("status", "--json", *asking)
    assert code == 0
    assert json.loads(text)["broker"] == "ann"


def test_groups_are_moved(asking: tuple[str, ...], control: ToldControl) -> None:
    assert cluster("move", "0", "bob", "--dry-run", *asking) == (
        0,
        "group 0: ann has it, bob would\n",
    )
    assert control.told == []
    assert cluster("move", "0", "bob", *asking) == (0, "group 0: ann had it, bob has it now\n")
    assert cluster("move", "/queue/q", "bob", *asking) == (0, "group 0: bob has it already\n")
    code, text = cluster("move", "0", "tom", *asking)
    assert code == 1
    assert "there is no broker 'tom'" in text


def test_a_broker_is_drained(asking: tuple[str, ...], control: ToldControl) -> None:
    assert cluster("drain", "--dry-run", *asking) == (
        0,
        "ann has groups 0 2, and would give them away\n",
    )
    assert cluster("drain", *asking) == (0, "ann has no groups any more; it had 0 2\n")
    assert cluster("drain", "--off", *asking) == (0, "ann takes groups again\n")
    assert control.told == ["drain", "undrain"]


def test_damage_is_accepted(asking: tuple[str, ...], control: ToldControl) -> None:
    control.cluster.owners[2] = ""
    assert cluster("accept", "2", "--dry-run", *asking) == (0, "group 2: nobody has it\n")
    assert cluster("accept", "2", *asking) == (0, "group 2: what is missing is given up\n")
    assert control.told == [("accept", 2)]
    assert cluster("accept", "1", *asking)[0] == 1


def test_who_cannot_be_asked(asking: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOMPY_PASSCODE", "tiger")
    code, text = cluster("status", *asking)
    assert code == 1
    assert "cannot be asked" in text
    assert "tiger" not in text
    assert cluster("status", "--url", "stomp://127.0.0.1:1")[0] == 1
