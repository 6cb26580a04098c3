"""The pytest plugin, in test runs of its own: what its fixtures give, and what they complain of."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from stompy_broker import ConfigError
from stompy_broker.embed.testing import LEAKS, configured

PytestRun = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> PytestRun:
    """Runs a file of tests in a process of its own."""

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(textwrap.dedent(code), "utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            # Under CI, pytest tells everything a second time in its summary.
            env={name: value for name, value in os.environ.items() if name != "CI"},
        )

    return run


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a run, without the time it took."""
    return done.stdout.splitlines()[-1].partition(" in ")[0]


def test_other_test_runs_do_not_pay_for_it(run: PytestRun):
    done = run(
        """
        import sys

        def test_nothing_was_loaded():
            assert "stompy_broker.embed.pytest_plugin" in sys.modules
            assert not {"stompy", "stompy_broker.broker", "asyncio", "pydantic"} & set(sys.modules)
        """
    )
    assert outcome(done) == "1 passed", done.stdout


def test_a_test_that_moves_the_time(run: PytestRun):
    done = run(
        """
        from datetime import UTC, datetime, timedelta
        import pytest

        START = datetime(2030, 1, 1, tzinfo=UTC)

        @pytest.mark.stompy_virtual_time(start=START)
        def test_the_mark(stompy_broker, stompy_client, stompy_start_broker):
            stompy_client.message("/queue/q", "x", headers={"x-message-ttl": 60_000}, confirm=True)
            assert stompy_broker.time.now == START
            assert stompy_broker.time.run_until_idle() == timedelta(minutes=1)
            assert not stompy_broker.queue("q").ready
            assert stompy_start_broker().time.now == START

        def test_the_clock(stompy_clock, stompy_broker):
            assert stompy_clock.advance("1 day") == stompy_broker.time.now

        @pytest.mark.stompy_virtual_time
        def test_it_begins_now(stompy_clock):
            assert abs(datetime.now(UTC) - stompy_clock.now) < timedelta(minutes=5)

        def test_others_live_in_real_time(stompy_broker):
            with pytest.raises(RuntimeError, match="passes by itself"):
                stompy_broker.time
        """,
        "--strict-markers",
    )
    assert outcome(done) == "4 passed", done.stdout


@pytest.mark.parametrize(
    ("mark", "fixture", "told"),
    [
        ("stompy_virtual_time", "stompy_shared_broker", "stompy_shared_broker lives in real time"),
        ("stompy_virtual_time(7)", "stompy_broker", "takes start=datetime"),
        ("stompy_virtual_time(begin=7)", "stompy_broker", "takes start=datetime"),
    ],
)
def test_a_mark_that_means_nothing_is_refused(run: PytestRun, mark: str, fixture: str, told: str):
    done = run(
        f"""
        import pytest

        @pytest.mark.{mark}
        def test_it({fixture}):
            pass
        """
    )
    assert told in done.stdout
    assert outcome(done) == "1 error"


def test_what_the_fixtures_give(run: PytestRun):
    done = run(
        """
        import asyncio
        import pytest
        import stompy

        @pytest.fixture(scope="session")
        def stompy_settings():
            return {"policy": [{"match": "/queue/orders", "dead_letter": "graveyard"}]}

        @pytest.fixture(scope="session")
        def urls():
            return []

        def test_a_client_and_its_broker(stompy_broker, stompy_client, urls):
            urls.append(stompy_broker.url)
            stompy_client.subscribe("/queue/orders", "client-individual")
            stompy_client.message("/queue/orders", "one")
            assert stompy_client.recv(timeout=5).text == "one"
            stompy_broker.join("orders")
            assert stompy_broker.queue("orders").stats.acked == 1

        def test_each_test_has_its_own_broker(stompy_broker, urls):
            assert stompy_broker.queues() == []
            assert urls[0] != stompy_broker.url

        @pytest.mark.parametrize("number", [1, 2])
        def test_one_broker_for_all(stompy_shared_broker, number):
            with stompy.connect(stompy_shared_broker.url) as client:
                client.message("/queue/shared", str(number))
                stompy_shared_broker.wait_for(
                    lambda: stompy_shared_broker.queue("shared").ready == number
                )

        def test_the_settings_count(stompy_broker, stompy_client):
            stompy_client.subscribe("/queue/orders", "client-individual", send_acks=False)
            stompy_client.message("/queue/orders", "poison")
            stompy_client.send("NACK", id=stompy_client.recv(timeout=5)["ack"], requeue="false")
            stompy_broker.join("orders")
            (dead,) = stompy_broker.queue("graveyard").messages
            assert dead.text == "poison"

        @pytest.mark.stompy_settings(limits={"transactions": 1})
        def test_settings_of_one_test(stompy_connect):
            client = stompy_connect(heart_beat=(0, 0))
            client.transaction().abort()
            client.transaction()
            client.transaction()
            with pytest.raises(stompy.STOMPError, match="1 transactions are open"):
                client.recv(timeout=5)

        def test_the_broker_comes_back(stompy_start_broker, tmp_path):
            kept = {"data": str(tmp_path / "data")}
            first = stompy_start_broker(store=kept)
            with stompy.connect(first.url) as client:
                client.wait_for_receipt(client.message("/queue/kept", "one", receipt=True))
            stompy_start_broker.stop(first)
            second = stompy_start_broker(store=kept, listen={"port": first.port})
            assert second.url == first.url
            assert [frame.text for frame in second.queue("kept").messages] == ["one"]

        def test_a_coroutine(stompy_broker, stompy_client):
            async def main():
                stompy_client.subscribe("/queue/a")
                stompy_client.message("/queue/a", "one")
                await stompy_broker.aio.join("a")

            asyncio.run(main())
        """
    )
    assert outcome(done) == "8 passed", done.stdout


def test_what_is_left_open_is_a_failure(run: PytestRun):
    done = run(
        """
        import pytest
        import stompy

        left_open = []

        def leave_unsettled(client):
            client.subscribe("/queue/a", "client-individual", send_acks=False)
            client.message("/queue/a", "one")
            client.recv(timeout=5)

        def leave_transaction(client):
            client.transaction("t7")
            client.wait_for_receipt(client.message("/queue/b", receipt=True))

        def test_unsettled(stompy_client):
            leave_unsettled(stompy_client)

        def test_transaction(stompy_client):
            leave_transaction(stompy_client)

        def test_connection(stompy_broker):
            left_open.append(stompy.connect(stompy_broker.url))

        @pytest.mark.stompy_leaks_allowed
        def test_everything_is_allowed(stompy_client):
            leave_unsettled(stompy_client)
            leave_transaction(stompy_client)

        @pytest.mark.stompy_leaks_allowed("unsettled")
        def test_something_is_allowed(stompy_client):
            leave_unsettled(stompy_client)
            leave_transaction(stompy_client)

        def test_a_failure_is_told_once(stompy_client):
            leave_unsettled(stompy_client)
            assert False
        """,
        "-rE",
    )
    assert outcome(done) == "1 failed, 5 passed, 4 errors", done.stdout
    assert "1 messages of /queue/a (subscription s1) that were delivered and neither" in done.stdout
    assert done.stdout.count("has neither committed nor aborted t7") == 2
    assert "is still connected" in done.stdout
    for name in ("unsettled", "transaction", "connection", "something_is_allowed"):
        assert f"ERROR test_it.py::test_{name} - Failed: left open" in done.stdout


def test_asyncio_clients(run: PytestRun):
    done = run(
        """
        import asyncio

        import pytest
        import stompy_broker

        async def use(connect, settle):
            async with connect() as client, connect(login="second") as other:
                await other.message("/queue/orders", "one", confirm=True)
                async with client.subscription("/queue/orders") as orders:
                    message = await orders.get(timeout=5)
                    if settle:
                        await message.ack()
                    else:
                        await client.transaction("left")
                        await client.send("BEGIN", transaction="t", receipt=True, confirm=True)

        def test_settled(stompy_own_broker, stompy_broker, stompy_aio_connect):
            assert stompy_broker is stompy_own_broker
            asyncio.run(use(stompy_aio_connect, True))
            assert stompy_own_broker.queue("orders").stats.acked == 1

        def test_left_open(stompy_aio_connect):
            asyncio.run(use(stompy_aio_connect, False))

        @pytest.mark.stompy_leaks_allowed
        def test_allowed(stompy_aio_connect):
            asyncio.run(use(stompy_aio_connect, False))
        """
    )
    assert outcome(done) == "3 passed, 1 error", done.stdout
    assert "neither committed nor aborted left" in done.stdout


def test_a_bad_setting_is_told(run: PytestRun):
    done = run(
        """
        import pytest

        @pytest.mark.stompy_settings(limits={"bodyy": 1})
        def test_it(stompy_broker): ...
        """
    )
    assert outcome(done) == "1 error", done.stdout
    assert "limits.bodyy: unknown key; did you mean body?" in done.stdout


def test_a_bad_kind_of_leak_is_told(run: PytestRun):
    done = run(
        """
        import pytest

        @pytest.mark.stompy_leaks_allowed("unsetled")
        def test_it(stompy_broker): ...
        """
    )
    assert outcome(done) == "1 error", done.stdout
    assert "'unsetled' is none of connections, unsettled, transactions" in done.stdout


def test_settings_are_laid_over_each_other():
    config = configured(
        {"limits": {"body": 10, "connections": 5}, "policy": [{"match": "/queue/a"}]},
        {"limits": {"body": 20}, "times": {"login": 1}},
    )
    assert (config.limits.body, config.limits.connections) == (20, 5)
    assert [policy.match for policy in config.policy] == ["/queue/a"]
    # What makes a broker of a test is still there.
    assert (config.listen.port, config.store.data) == (0, "")
    assert (config.times.shutdown, config.times.login) == (0, 1)


def test_a_section_that_is_none():
    with pytest.raises(ConfigError, match="limits"):
        configured({"limits": 5})


def test_the_kinds_of_leaks_are_documented():
    page = Path(__file__).parents[3] / "docs" / "testing.md"
    for kind in LEAKS:
        assert f"`{kind}`" in page.read_text("utf-8")
