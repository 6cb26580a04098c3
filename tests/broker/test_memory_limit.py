"""How much memory the broker may have."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from stompy_broker.memory_limit import AllowedMemory, allowed_memory

MIB = 1024 * 1024


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture(autouse=True)
def no_other_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)


def test_a_control_group_counts_and_those_that_it_is_in(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/a.slice/b.service\n")
    write(tmp_path, "sys/fs/cgroup/a.slice/b.service/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/a.slice/memory.max", f"{96 * MIB}\n")
    assert allowed_memory(tmp_path) == AllowedMemory(96 * MIB, "the control group (container)")


def test_in_a_container_the_group_is_at_the_top(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/docker/0123abcd\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", f"{128 * MIB}\n")
    found = allowed_memory(tmp_path)
    assert found is not None
    assert found.size == 128 * MIB


def test_control_groups_of_the_first_version(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/x\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(tmp_path, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", f"{64 * MIB}\n")
    found = allowed_memory(tmp_path)
    assert found is not None
    assert found.size == 64 * MIB


def test_the_limits_of_the_process_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 700 * MIB, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which],) * 2)
    assert allowed_memory(tmp_path) == AllowedMemory(700 * MIB, "ulimit -v")


def test_else_the_machine(tmp_path: Path) -> None:
    found = allowed_memory(tmp_path)
    assert found is not None
    assert found.source == "the machine"


def test_the_mark_is_a_share_and_bounded() -> None:
    assert AllowedMemory(300 * MIB, "").mark(1024 * MIB) == 100 * MIB
    assert AllowedMemory(64 * 1024 * MIB, "").mark(1024 * MIB) == 1024 * MIB
