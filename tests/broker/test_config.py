"""Configuration: a clear word about every mistake, with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.wire import cheap_hash

from stompy_broker.config import BrokerConfig, ConfigError, LimitsConfig, load_config
from stompy_broker.security.auth import ANONYMOUS, Role, hash_password


def write(folder: Path, text: str) -> Path:
    file = folder / "broker.toml"
    file.write_text(text)
    return file


def test_defaults() -> None:
    config = load_config()
    assert config == BrokerConfig()
    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 61613)
    assert config.anonymous
    assert config.frame_limits().body == 64 * 1024 * 1024


def test_sizes_have_units_and_policies_keep_their_order(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [limits]
        memory = "2 GiB"
        body = 1000
        [[policy]]
        match = "/queue/a"
        [[policy]]
        match = "/queue/b"
        """,
    )
    config = load_config(file, {"listen": {"port": 0}})
    assert config.limits.memory == 2 * 1024**3
    assert config.limits.body == 1000
    assert [policy.match for policy in config.policy] == ["/queue/a", "/queue/b"]
    assert config.listen.port == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[listen]\nport = 70000", ["listen.port", "65535"]),
        ("[listen]\nprot = 1", ["listen.prot", "unknown key; did you mean port?"]),
        ("[limits]\nbody = 'much'", ["limits.body"]),
        ("[[policy]]\nmatch = '/foo/x'", ["policy.0.match", "/queue/"]),
        ("[users]\nalice = 'secret'", ["users.alice", "hash-password"]),
        ("[listen]\nhost = '0.0.0.0'", ["loopback", "[users]"]),
        ("not toml", ["is not TOML"]),
        ("listen = 5", ["listen", "section"]),
        ("[limits]\nbody = 0", ["limits.body"]),
        ("[limits]\nbody = '1GB'", ["limits.body", "536870912"]),
        ("[times]\nheart_beat = [1]", ["times.heart_beat"]),
    ],
)
def test_mistakes_name_file_key_and_reason(tmp_path: Path, text: str, words: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {"listen": {}})
    assert all(word in str(caught.value) for word in [str(file), *words])


def test_a_secret_that_is_no_hash_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "[users]\nalice = 'canary'"))
    assert "canary" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize("opening", [{"security": {"allow_anonymous": True}}, {"users": True}])
def test_binding_wider_needs_users_or_a_word(opening: dict[str, object]) -> None:
    if "users" in opening:
        opening = {"users": {"alice": hash_password("x")}}
    config = load_config(overrides={"listen": {"host": "0.0.0.0"}, **opening})  # type: ignore[dict-item]
    assert config.listen.host == "0.0.0.0"


def test_the_highest_role_that_lists_a_login_counts() -> None:
    roles = {"monitor": ["ann", "bob"], "operator": ["bob"], "admin": ["eve"]}
    config = load_config(overrides={"users": {"ann": hash_password("x")}, "roles": roles})
    names = ("ann", "bob", "eve", "joe", ANONYMOUS)
    assert [config.role_of(name).value for name in names] == [
        "monitor",
        "operator",
        "admin",
        "none",
        "none",
    ]


def test_without_users_roles_depend_on_who_can_connect() -> None:
    assert load_config().role_of("joe") is Role.ADMIN
    wide = {"listen": {"host": "0.0.0.0"}, "security": {"allow_anonymous": True}}
    assert load_config(overrides=wide).role_of("joe") is Role.NONE
    shown = {**wide, "roles": {"monitor": [ANONYMOUS], "admin": ["joe"]}}
    assert load_config(overrides=shown).role_of("joe") is Role.MONITOR


@pytest.mark.parametrize("name", ["*", ANONYMOUS])
def test_names_with_another_meaning_are_no_logins(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a login"):
        load_config(overrides={"users": {name: cheap_hash("x")}})


@pytest.mark.parametrize("key", LimitsConfig.model_fields)
@pytest.mark.parametrize("value", [-1, "-1MiB", "lots", 1.5, [1]])
def test_a_limit_that_is_none_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"limits\.{key}"):
        load_config(overrides={"limits": {key: value}})
