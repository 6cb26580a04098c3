"""Which quotas can be, and whom they are for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stompy.admin.rows import Role
from stompy_broker.config import ConfigError, load_config
from stompy_broker.quota_config import QuotaConfig


@pytest.mark.parametrize(
    ("user", "fitting"),
    [
        ("*", {"ann", "bob", "anonymous"}),
        ("ann", {"ann"}),
        ("@monitor", {"bob"}),
        ("@admin", set[str]()),
        ("anonymous", {"anonymous"}),
    ],
)
def test_whom_an_entry_is_for(user: str, fitting: set[str]) -> None:
    roles = {"ann": Role.NONE, "bob": Role.MONITOR, "anonymous": Role.NONE}
    quota = QuotaConfig(user=user)
    assert {name for name, role in roles.items() if quota.fits(name, role)} == fitting


def test_a_role_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValidationError, match="is no role; those are @monitor, @operator, @admin"):
        QuotaConfig(user="@boss")


@pytest.mark.parametrize("key", ["send_rate", "receive_rate", "connect_rate"])
def test_a_rate_of_messages_has_no_bytes(key: str) -> None:
    with pytest.raises(ValidationError, match="counts messages, not bytes"):
        QuotaConfig.model_validate({key: "5MiB/s"})


def overrides(**quota: object) -> dict[str, object]:
    return {"quota": [quota], "store": {"data": ""}}


def test_a_name_needs_users_that_prove_it() -> None:
    with pytest.raises(ConfigError, match=r"quota\.0\.user: 'ann' proves nothing without users"):
        load_config(overrides=overrides(user="ann", connections=1))
    for user in ("*", "anonymous", "@admin"):
        load_config(overrides=overrides(user=user, connections=1))


def test_what_is_in_queues_is_not_counted_in_a_cluster() -> None:
    cluster = {
        "name": "shop",
        "id": "a",
        "secret_file": "s",
        "nats": ["nats://127.0.0.1:4222"],
        "trust_sync": True,
    }
    with pytest.raises(ConfigError, match=r"quota\.0\.stored_bytes: cannot be counted in a"):
        load_config(overrides={"quota": [{"stored_bytes": "1MiB"}], "cluster": cluster})
    load_config(overrides={"quota": [{"send_rate": "1/s", "queues": 5}], "cluster": cluster})
