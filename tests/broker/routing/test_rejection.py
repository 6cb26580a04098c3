"""What a subscription says of its own refusals, and what is left to the policy."""

from __future__ import annotations

from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.rejection import Retries


def test_retries_of_a_subscription_go_before_the_policy() -> None:
    policy = Policy(redelivery_delay=4, redelivery_multiplier=2, redelivery_delay_max=20)

    def waits(retries: Retries) -> list[float]:
        return [retries.wait(failures, policy) for failures in range(1, 6)]

    assert waits(Retries()) == [0, 4, 8, 16, 20]
    assert waits(Retries(delay=3.0, exponential=False)) == [3, 3, 3, 3, 3]
    assert waits(Retries(first=0.0, delay=3.0, exponential=False)) == [0, 3, 3, 3, 3]
    assert waits(Retries(first=1.0, exponential=True, multiplier=5.0)) == [1, 5, 20, 20, 20]
    assert waits(Retries(first=1.0, multiplier=5.0, longest=1e9)) == [1, 5, 25, 125, 625]
    assert Retries(multiplier=9.0, longest=1e9).wait(10**6, policy) == 1e9
    assert [Retries(most=2).exhausted(failures, policy) for failures in (2, 3)] == [False, True]
    assert not Retries(most=-1).exhausted(10**6, policy)
    assert Retries().exhausted(10, policy)
