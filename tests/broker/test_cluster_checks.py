"""Members whose configuration can be read, and what is wrong with it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from stompy_broker.cli import main
from stompy_broker.cluster_checks import check_cluster_files, cluster_warnings
from stompy_broker.cluster_secret import write_secret
from stompy_broker.config import BrokerConfig, ConfigError, load_config

PEERS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def load(tmp_path: Path, **cluster: object) -> BrokerConfig:
    policy = cluster.pop("policy", ())
    secret = tmp_path / "secret"
    if not secret.exists():
        write_secret(secret)
    own = {"name": "shop", "secret_file": str(secret), "advertise": "10.0.0.1"}
    servers = {} if "nats" in cluster else {"embedded": True, "peers": PEERS}
    overrides = {
        "cluster": {**own, **servers, **cluster},
        "store": {"data": str(tmp_path)},
        "policy": policy,
    }
    return load_config(overrides=overrides)


def test_a_good_one(tmp_path: Path) -> None:
    config = load(tmp_path)
    check_cluster_files(config)
    assert cluster_warnings(config) == []


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"secret_file .*absent"):
        check_cluster_files(load(tmp_path, secret_file=str(tmp_path / "absent")))
    with pytest.raises(ConfigError, match=r"cluster.nats_server .*absent"):
        check_cluster_files(load(tmp_path, nats_server=str(tmp_path / "absent")))
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    external = load(tmp_path, nats=["tls://a"], trust_sync=True, tls_ca=str(ca))
    with pytest.raises(ConfigError, match=r"cluster\.tls_ca"):
        check_cluster_files(external)


def test_the_command_says_so(tmp_path: Path) -> None:
    config = load(tmp_path)
    file = tmp_path / "broker.toml"
    cluster = config.cluster
    file.write_text(
        f'[cluster]\nname = "shop"\nsecret_file = "{cluster.secret_file}"\nreplicas = 1\n'
        'nats = ["nats://10.0.0.1"]\ntrust_sync = true\nadvertise = "10.0.0.1"\n'
    )
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 0
    assert "warning: cluster.replicas = 1" in result.output
    Path(cluster.secret_file).unlink()
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 2
    assert "broker.toml: cluster.secret_file" in result.output


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"replicas": 1}, "cluster.replicas = 1"),
        ({"nats": ["nats://10.0.0.1"], "trust_sync": True}, "cluster.trust_sync"),
        ({"advertise": "127.0.0.1", "peer": "10.0.0.1"}, "cluster.advertise: 127.0.0.1"),
        ({"advertise": "localhost", "peer": "10.0.0.1"}, "cluster.advertise: localhost"),
    ],
)
def test_what_is_hardly_meant(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    (found,) = cluster_warnings(load(tmp_path, **settings))
    assert words in found


def test_limits_of_what_there_is_not_in_a_cluster(tmp_path: Path) -> None:
    config = load(tmp_path)
    limits = config.limits.model_copy(update={"retained": 5})
    (found,) = cluster_warnings(config.model_copy(update={"limits": limits}))
    assert "limits.retained: in a cluster topics keep no messages" in found


def test_all_on_one_machine_is_meant(tmp_path: Path) -> None:
    peers = ["127.0.0.1:1", "localhost:2", "[::1]:3"]
    config = load(tmp_path, advertise="127.0.0.1", peers=peers, peer=peers[0])
    assert cluster_warnings(config) == []


def test_the_messages_of_a_broker_that_was_alone_are_not_forgotten(tmp_path: Path) -> None:
    (tmp_path / "messages.db").touch()
    (found,) = cluster_warnings(load(tmp_path))
    assert "messages.db" in found


PINS = [{"match": "/queue/orders.>"}, {"match": "/queue/*.eu"}]


@pytest.mark.parametrize(
    ("match", "target", "warned"),
    [
        ("/queue/>", "/queue/DLQ.{name}", False),
        ("/queue/>", "/queue/dead.{name}", True),
        ("/queue/>", "/queue/dead", True),
        ("/queue/a", "/queue/a.dead.letters", True),
        ("/queue/orders.*", "/queue/orders.dead", False),
        ("/queue/orders.>", "/queue/orders.dead.{name}", False),
        ("/queue/orders.>", "/queue/dead.{name}", True),
        ("/queue/*.eu", "/queue/dead.eu", False),
        ("/queue/*.*", "/queue/dead.eu", True),
        ("/queue/>", "", False),
        ("/topic/>", "/queue/dead", False),
    ],
)
def test_dead_letters_that_leave_their_group(
    tmp_path: Path, match: str, target: str, warned: bool
) -> None:
    policy = [{"match": match, "dead_letter": target, "expired_to": "dead-letter"}]
    found = cluster_warnings(load(tmp_path, group=PINS, policy=policy))
    assert ["policy.0.dead_letter" in one for one in found] == [True] * warned
