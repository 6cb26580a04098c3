"""What ``[cluster]`` makes of servers, logins and certificates."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from stompy_broker.cluster_secret import ClusterSecret
from stompy_broker.cluster_settings import (
    ID_FILE,
    agreed_settings,
    broker_id,
    embedded_server,
    link_tls,
    node_settings,
)
from stompy_broker.config import BrokerConfig, ConfigError, load_config

SECRET = ClusterSecret(b"tiger" * 8)
PASSWORD = SECRET.key("nats").hex()


def load(tmp_path: Path, cluster: dict[str, object], **sections: dict[str, object]) -> BrokerConfig:
    own = {"name": "shop", "secret_file": "secret", "advertise": "10.0.0.2:61613"}
    store = {"data": str(tmp_path)}
    return load_config(overrides={"cluster": {**own, **cluster}, "store": store, **sections})


EMBEDDED: dict[str, object] = {"embedded": True, "peers": ["10.0.0.1", "10.0.0.2:5000", "[fd::3]"]}
EXTERNAL: dict[str, object] = {
    "nats": ["nats://ann:lion@a:1", "tls://b"],
    "nats_system": "sys:bear:s",
}


def test_the_own_server(tmp_path: Path) -> None:
    server = embedded_server(load(tmp_path, EMBEDDED), SECRET)
    assert server is not None
    settings = server.settings
    assert (settings.host, settings.port, settings.route_port) == ("10.0.0.2", 5000, 7000)
    assert list(settings.routes) == ["10.0.0.1:6222", "10.0.0.2:7000", "[fd::3]:6222"]
    assert (settings.name, settings.cluster) == ("10.0.0.2:5000", "shop")
    assert settings.directory == tmp_path / "nats"
    assert "sync_interval: always" in settings.text()
    assert settings.password == PASSWORD
    assert settings.tls is None
    assert embedded_server(load(tmp_path, EXTERNAL), SECRET) is None


def test_a_directory_of_its_own(tmp_path: Path) -> None:
    config = load(tmp_path, {**EMBEDDED, "nats_data": "elsewhere", "nats_storage": "1GiB"})
    server = embedded_server(config, SECRET)
    assert server is not None
    assert server.settings.directory == Path.cwd() / "elsewhere"
    assert server.settings.max_storage == 1024**3


def test_brokers_go_to_their_own_server_first(tmp_path: Path) -> None:
    settings = node_settings(load(tmp_path, {**EMBEDDED, "silence": 5}), "ann", SECRET)
    assert (settings.cluster, settings.broker, settings.replicas) == ("shop", "ann", 3)
    assert [str(one) for one in settings.nats.servers] == [
        "10.0.0.2:5000",
        "10.0.0.1:4222",
        "[fd::3]:4222",
    ]
    assert {one.login.password for one in settings.nats.servers} == {PASSWORD}
    assert settings.system is not None
    assert (settings.system.user, settings.system.password) == ("sys", PASSWORD)
    assert settings.nats.tls is None
    assert PASSWORD not in repr(settings)


def test_servers_of_somebody_else(tmp_path: Path) -> None:
    settings = node_settings(load(tmp_path, EXTERNAL), "ann", SECRET)
    first, second = settings.nats.servers
    assert (first.host, first.port, first.tls) == ("a", 1, False)
    assert (first.login.user, first.login.password) == ("ann", "lion")
    assert (second.host, second.port, second.tls) == ("b", 4222, True)
    assert settings.nats.tls is not None
    assert settings.system is not None
    assert (settings.system.user, settings.system.password) == ("sys", "bear:s")
    trusted = load(tmp_path, {**EXTERNAL, "nats_system": "", "trust_sync": True})
    assert node_settings(trusted, "ann", SECRET).system is None


def test_everything_is_encrypted_where_there_are_certificates(tmp_path: Path) -> None:
    ca, pem = tmp_path / "ca.pem", tmp_path / "cert.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("10.0.0.2").private_key_and_cert_chain_pem.write_to_path(str(pem))
    tls: dict[str, object] = {"cert": str(pem)}
    config = load(tmp_path, {**EMBEDDED, "tls_ca": str(ca)}, tls=tls)
    server = embedded_server(config, SECRET)
    assert server is not None
    assert server.settings.tls is not None
    assert (server.settings.tls.cert, server.settings.tls.ca) == (str(pem), str(ca))
    nats = node_settings(config, "ann", SECRET).nats
    assert nats.tls is not None
    assert all(one.tls for one in nats.servers)
    assert link_tls(config) is not None
    assert link_tls(load(tmp_path, EMBEDDED)) is None
    absent = load(tmp_path, {**EMBEDDED, "tls_ca": str(tmp_path / "absent")}, tls=tls)
    with pytest.raises(ConfigError, match=r"cluster.tls_ca .*absent.* No such file"):
        link_tls(absent)


def test_an_id_is_made_once(tmp_path: Path) -> None:
    tmp_path /= "data"
    config = load(tmp_path, EMBEDDED)
    made = broker_id(config)
    assert tmp_path.stat().st_mode & 0o077 == 0
    assert broker_id(config) == made
    load_config(overrides={"cluster": {**config.cluster.model_dump(), "id": made}})
    (tmp_path / ID_FILE).unlink()
    assert broker_id(config) != made
    assert broker_id(load(tmp_path, {**EMBEDDED, "id": "ann"})) == "ann"


@pytest.mark.parametrize("octets", [b"", b"a.b\n", b"\xff"])
def test_an_id_that_is_none(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / ID_FILE).write_bytes(octets)
    with pytest.raises(ConfigError, match=ID_FILE):
        broker_id(load(tmp_path, EMBEDDED))


def test_what_should_agree(tmp_path: Path) -> None:
    config = load(tmp_path, EMBEDDED)
    hashes = agreed_settings(config, {"ann": "hash"})
    assert agreed_settings(load(tmp_path, EXTERNAL), {"ann": "hash"}) == hashes
    other = load(tmp_path, EMBEDDED, roles={"admin": ["ann"]})
    found = agreed_settings(other, {"ann": "another"})
    assert {name for name in hashes if hashes[name] != found[name]} == {"users", "roles"}
