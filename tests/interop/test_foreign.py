"""Without RabbitMQ and ActiveMQ their tests are skipped, and say why."""

from __future__ import annotations

import pytest
from benchmarks import foreign
from tests.interop.peers import running_peer


@pytest.mark.parametrize("name", foreign.STARTS)
def test_what_is_not_installed_is_told(name, monkeypatch, tmp_path):
    monkeypatch.setattr(foreign, "NEEDS", {name: ("no-such-program", "sh")})
    assert foreign.missing(name) == f"{name} is not installed: no no-such-program"
    with (
        pytest.raises(pytest.skip.Exception, match="is not installed"),
        running_peer(name, tmp_path),
    ):
        pass


def test_each_has_what_it_needs_listed():
    assert foreign.NEEDS.keys() == foreign.STARTS.keys()
