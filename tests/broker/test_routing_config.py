"""Settings of exchanges."""

from __future__ import annotations

import pytest

from stompy_broker.config import ConfigError, load_config


@pytest.mark.parametrize("name", ["amq.topic", "amq.match", "a/b", "", " ", "a.*", "#", "a\nb"])
def test_what_no_exchange_can_be_called(name: str) -> None:
    with pytest.raises(ConfigError, match=r"exchange\.0\.name"):
        load_config(overrides={"exchange": [{"name": name}]})


def test_a_name_is_needed_and_a_type_is_one_of_four() -> None:
    with pytest.raises(ConfigError, match=r"exchange\.0\.name: is missing"):
        load_config(overrides={"exchange": [{"type": "topic"}]})
    with pytest.raises(ConfigError, match=r"exchange\.0\.type: must be one of"):
        load_config(overrides={"exchange": [{"name": "a", "type": "random"}]})
