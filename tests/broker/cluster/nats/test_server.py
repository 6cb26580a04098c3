"""A server as a child: it is ready when it says so, comes back, and is never there twice."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
import trustme
from tests.support.looping import run, soon
from tests.support.nats import PATIENCE, free_ports, settings_for

from stompy_broker.cluster.nats import launcher
from stompy_broker.cluster.nats.client import NATSClient, NATSSettings
from stompy_broker.cluster.nats.codec import NATSError
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.cluster.nats.server import ServerProcess, ServerSettings, ServerTLS
from stompy_broker.cluster.nats.sync_check import check_sync


@asynccontextmanager
async def connected(settings: NATSSettings) -> AsyncIterator[NATSClient]:
    client = NATSClient(settings)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def is_gone(pid: int) -> bool:
    try:
        return str(psutil.Process(pid).status()) == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_runs_until_it_is_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        server = ServerProcess(ServerSettings("one", tmp_path / "nats", password="s3cret"))
        await server.start()
        pid = server.pid
        try:
            async with connected(settings_for(server.url)) as client:
                assert client.info.name == "one"
            sys_url = server.url.replace("//stompy:", "//sys:")
            async with connected(settings_for(sys_url)) as system:
                await check_sync(system, ["one"])
            assert server.log_file.exists()
            assert server.program is not None
            assert server.program.version in str(server.program)
        finally:
            await server.stop()
            await server.stop()
        assert is_gone(pid)
        assert server.pid == 0

    run(main)


def test_nobody_else_reads_its_password(tmp_path: Path) -> None:
    async def main() -> None:
        directory = tmp_path / "nats"
        server = ServerProcess(ServerSettings("one", directory, password="s3cret"))
        await server.start()
        await server.stop()
        assert (directory / "nats-server.conf").stat().st_mode & 0o077 == 0
        assert directory.stat().st_mode & 0o077 == 0
        assert "s3cret" not in repr(server.settings)
        assert "s3cret" not in server.log_file.read_text()

    run(main)


def test_what_it_stored_is_there_when_it_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        server = ServerProcess(ServerSettings("one", tmp_path / "nats", port))
        await server.start()
        try:
            async with connected(settings_for(server.url)) as client:
                jetstream = JetStream(client)
                await client.ask("$JS.API.STREAM.CREATE.S", b'{"name":"S","subjects":["s"]}')
                await client.ask("s", b"kept")
                before = server.pid
                server.send(signal.SIGKILL)
                await soon(lambda: server.pid not in (0, before) and server.starts == 2)
                await soon(lambda: client.trouble == "", "the client's return")
                state = None
                while state is None:  # it may still be reading what it has
                    with suppress(NATSError):
                        state = await jetstream.state("S")
                assert state.messages == 1
        finally:
            await server.stop()

    run(main)


def test_certificates_are_read_again(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca, pem = tmp_path / "ca.pem", tmp_path / "cert.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))

    async def main() -> None:
        tls = ServerTLS(str(pem), str(pem), str(ca))
        server = ServerProcess(ServerSettings("one", tmp_path / "nats", tls=tls))
        await server.start()
        pid = server.pid
        try:
            server.reload()
            await soon(lambda: b"Reloaded: tls" in server.log_file.read_bytes(), "the reload")
            assert server.pid == pid
        finally:
            await server.stop()
        server.reload()  # nobody is there, and nothing happens

    run(main)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        first = ServerProcess(ServerSettings("one", tmp_path / "first"))
        await first.start()
        try:
            second = ServerProcess(ServerSettings("two", tmp_path / "second", first.port))
            with pytest.raises(NATSError, match=r"address already in use.*second"):
                await second.start()
            assert second.pid == 0
        finally:
            await first.stop()

    run(main)


def test_two_brokers_cannot_have_one_directory(tmp_path: Path) -> None:
    async def main() -> None:
        first = ServerProcess(ServerSettings("one", tmp_path))
        await first.start()
        try:
            second = ServerProcess(ServerSettings("one", tmp_path))
            with pytest.raises(NATSError, match=rf"in use .* {os.getpid()}"):
                await second.start()
            assert not is_gone(first.pid)
        finally:
            await first.stop()

    run(main)


BROKER = """
import asyncio, sys
from pathlib import Path
from stompy_broker.cluster.nats.server import ServerProcess, ServerSettings

async def main():
    server = ServerProcess(ServerSettings("one", Path(sys.argv[1])))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def left_by_a_killed_broker(directory: Path) -> int:
    """The process id of a server whose broker was killed."""
    broker = subprocess.Popen(
        [sys.executable, "-c", BROKER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert broker.stdout is not None
    with broker.stdout:
        pid = int(broker.stdout.readline())
        broker.kill()
        broker.wait(PATIENCE)
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="only there a child is told")
def test_it_does_not_outlive_a_broker_that_is_killed(tmp_path: Path) -> None:
    async def main() -> None:
        pid = left_by_a_killed_broker(tmp_path)
        await soon(lambda: is_gone(pid), "the end of the server")

    run(main)


def test_a_server_that_was_left_behind_is_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the kernel does not tell a child that its parent has ended.
    deaf = tmp_path / "launcher.py"
    text = Path(str(launcher.__file__)).read_text("utf-8")
    deaf.write_text(text.replace('sys.platform == "linux"', "False"), "utf-8")
    monkeypatch.setattr(launcher, "__file__", str(deaf))

    async def main() -> None:
        directory = tmp_path / "nats"
        (port,) = free_ports(1)
        left = ServerProcess(ServerSettings("one", directory, port))
        await left.start()
        pid = left.pid
        # As the kernel does for a process that has ended.
        left._unlock()
        assert left._watching is not None
        left._watching.cancel()
        server = ServerProcess(ServerSettings("one", directory, port))
        await server.start()
        try:
            assert is_gone(pid)
            assert server.pid != pid
        finally:
            await left.stop()
            await server.stop()

    run(main)


def three(tmp_path: Path, tls: ServerTLS | None = None) -> list[ServerProcess]:
    ports, routes = free_ports(3), free_ports(3)
    return [
        ServerProcess(
            ServerSettings(
                f"n{number}",
                tmp_path / f"n{number}",
                ports[number],
                route_port=routes[number],
                routes=[f"127.0.0.1:{route}" for route in routes],
                password="s3cret",
                tls=tls,
            )
        )
        for number in range(3)
    ]


def test_three_of_them_are_one_encrypted_cluster(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca, pem = tmp_path / "ca.pem", tmp_path / "cert.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))

    async def main() -> None:
        servers = three(tmp_path, ServerTLS(str(pem), str(pem), str(ca)))
        async with asyncio.TaskGroup() as starting:
            for server in servers:
                starting.create_task(server.start())
        try:
            settings = settings_for(servers[0].url)
            trusting = NATSSettings(
                settings.servers,
                tls=ssl.create_default_context(cafile=str(ca)),
                request_seconds=0.5,
            )
            async with connected(trusting) as client:
                # Until they have elected a leader, there is no answer, or it is an error.
                question, answer = b'{"name":"S","subjects":["s"],"num_replicas":3}', b'"error"'
                deadline = asyncio.get_running_loop().time() + PATIENCE
                while b'"error"' in answer:
                    assert asyncio.get_running_loop().time() < deadline, answer
                    with suppress(NATSError):
                        answer = (await client.ask("$JS.API.STREAM.CREATE.S", question)).body
                assert (await client.ask("s", b"kept")).body.startswith(b'{"stream":"S"')
        finally:
            for server in servers:
                await server.stop()

    run(main)
