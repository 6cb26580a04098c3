"""What differs between two configurations, and what of that a broker can go by."""

from __future__ import annotations

import re

import pytest
from tests.support.sources import ROOT
from tests.support.wire import cheap_hash

from stompy_broker.cluster_config import ClusterConfig
from stompy_broker.config import BrokerConfig, load_config
from stompy_broker.config_changes import CHANGEABLE, Applies, Difference, difference
from stompy_broker.destinations.policy import Policy

ANN, BOB = cheap_hash("a"), cheap_hash("b")
USERS = {"ann": ANN}


def compared(before: dict[str, object], after: dict[str, object]) -> Difference:
    return difference(load_config(overrides=before), load_config(overrides=after))


def test_the_same_is_no_change() -> None:
    found = compared({}, {"limits": {"queues": 50_000}})
    assert (found.changes, found.config) == ([], BrokerConfig())


def test_what_cannot_change_stays_and_is_named() -> None:
    found = compared(
        {},
        {"limits": {"queues": 5, "body": "1MiB"}, "listen": {"port": 1}, "prefetch": {"client": 3}},
    )
    assert {change.key: change.applies for change in found.changes} == {
        "listen.port": Applies.RESTART,
        "limits.queues": Applies.AT_ONCE,
        "limits.body": Applies.RESTART,
        "prefetch.client": Applies.SUBSCRIPTIONS,
    }
    config = found.config
    assert (config.limits.queues, config.prefetch.client) == (5, 3)
    assert (config.listen.port, config.limits.body) == (61613, 64 * 2**20)
    assert [change.key for change in found.postponed] == ["listen.port", "limits.body"]
    assert str(found.applied[0]) == "limits.queues is 5, not 50000 (at once)"
    assert str(found.postponed[0]) == "listen.port needs a restart"
    # It is said again the next time.
    again = difference(config, load_config(overrides={"listen": {"port": 1}}))
    assert "listen.port" in {change.key for change in again.postponed}


def test_of_lists_it_is_told_what_went_and_what_came() -> None:
    one, two = {"match": "/queue/a"}, {"match": "/queue/b", "max_length": 3}
    (change,) = compared({"policy": [one]}, {"policy": [one, two]}).changes
    assert (change.before, change.after) == ([], [two])
    (change,) = compared({"policy": [one, two]}, {"policy": [two, one]}).changes
    assert (change.before, change.after) == ([one, two], [two, one])


def test_of_users_it_is_told_who_but_no_hash() -> None:
    found = compared({"users": USERS}, {"users": {"bob": BOB}})
    (change,) = found.changes
    assert (change.before, change.after) == (["ann"], ["bob"])
    (change,) = compared({"users": USERS}, {"users": {"ann": BOB}}).changes
    assert (change.before, change.after) == (["ann"], ["ann"])


def test_secrets_are_not_told() -> None:
    cluster = ClusterConfig.model_construct(nats_system="user:secret")
    after = BrokerConfig().model_copy(update={"cluster": cluster})
    (change,) = difference(BrokerConfig(), after).changes
    assert change.key == "cluster.nats_system"
    assert "secret" not in repr(change)


def test_the_first_user_needs_a_restart_and_so_does_all_that_goes_by_names() -> None:
    found = compared({}, {"users": USERS, "roles": {"monitor": ["ann"]}, "limits": {"queues": 3}})
    assert {change.key for change in found.postponed} == {"users", "roles.monitor"}
    assert (found.config.users, found.config.roles.monitor) == ({}, ())
    assert found.config.limits.queues == 3


@pytest.mark.parametrize("key", CHANGEABLE)
def test_every_key_that_may_change_is_a_setting(key: str) -> None:
    section, _, name = key.partition(".")
    field = BrokerConfig.model_fields[section]
    if name:
        assert name in field.annotation.model_fields  # type: ignore[union-attr]


def rows_of(label: str) -> list[tuple[set[str], str]]:
    """The rows of a table of the manual: keys, and what is said of them."""
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    table = page.partition(f"({label})=")[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    cells = [line.split("|")[1:3] for line in table.splitlines()]
    return [(set(re.findall(r"`([\w.]+)`", keys)), told.strip()) for keys, told in cells]


def test_the_manual_says_of_each_when_it_holds() -> None:
    told = {key: text.partition(",")[0] for keys, text in rows_of("config-reload") for key in keys}
    assert told == {key: applies.value for key, applies in CHANGEABLE.items()}


def test_the_manual_says_of_each_key_of_a_policy_what_becomes_of_queues() -> None:
    keys = set[str]().union(*(keys for keys, _ in rows_of("config-policy-reload")))
    assert keys == set(Policy.model_fields) - {"match"}
