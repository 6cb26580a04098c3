from __future__ import annotations

import pytest

from stompy_broker.config import ConfigError, load_config


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"limits": {"memmory": 1}}, "limits.memmory: unknown key; did you mean memory?"),
        ({"limts": {}}, "limts: unknown section; did you mean limits?"),
        ({"nonsense": {}}, "nonsense: unknown section"),
        ({"listen": {"port": "abc"}}, "listen.port: must be a whole number, not 'abc'"),
        ({"listen": {"port": 1.5}}, "listen.port: must be a whole number, not 1.5"),
        ({"listen": {"port": -1}}, "listen.port: must be 0 or more, not -1"),
        ({"listen": 5}, "listen: must be a section, with keys of its own, not 5"),
        ({"limits": {"memory": "lots"}}, "limits.memory: must be a size, such as"),
        ({"store": {"data": 5}}, "store.data: must be text, in quotes, not 5"),
        ({"times": {"heart_beat": [1]}}, "times.heart_beat.1: is missing"),
        ({"policy": {"match": "x"}}, "policy: is a list of sections: write [[policy]] above each"),
        ({"acl": {"match": "x"}}, "acl: is a list of sections: write [[acl]] above each"),
        ({"max_deliveries": 1}, "max_deliveries: unknown section"),
        ({"users_file": "x"}, "users_file: is a key of [security], and stands outside it"),
        ({"listen": {"port": True}}, "listen.port: must be a number, not True"),
        ({"limits": {"body": True}}, "limits.body: must be a number, not True"),
        ({"times": {"login": True}}, "times.login: must be a number, not True"),
        (
            {"policy": [{"match": "/queue/x", "max_deliveries": True}]},
            "policy.0.max_deliveries: must be a number, not True",
        ),
        (
            {"policy": [{"match": "/queue/x", "max_deliverys": 1}]},
            "policy.0.max_deliverys: unknown key; did you mean max_deliveries?",
        ),
    ],
)
def test_what_is_wrong_in_our_own_words(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=settings, where="here")
    assert str(caught.value).startswith(f"here: {expected}")
    assert "Input should" not in str(caught.value)


def test_a_line_for_each_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides={"limts": {}, "listen": {"port": "x", "hots": ""}})
    assert len(str(caught.value).splitlines()) == 3


def test_secrets_and_long_values_are_not_repeated() -> None:
    for wrong in ({"users": {"ann": 12345}}, {"store": {"data": [12345] * 100}}):
        with pytest.raises(ConfigError) as caught:
            load_config(overrides=wrong)
        assert "12345" not in str(caught.value)
