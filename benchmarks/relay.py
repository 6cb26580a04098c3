"""A relay made of the codec alone: what a message costs before any promise is kept.

No acknowledgements kept, no limits, no accounts, no redelivery: a yardstick for the broker, which
has all of them. ``relay.py PORT``
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from itertools import count

from stompy.protocol.codec import FrameParser
from stompy.protocol.header_cache import HeadCache
from stompy.protocol.headers import Version
from stompy.protocol.limits import DEFAULT_LIMITS

CACHE = HeadCache()
SUBSCRIBERS: defaultdict[str, list[asyncio.Transport]] = defaultdict(list)
NUMBERS = count(1)


class Relay(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.parser = FrameParser(version=Version.V1_2)
        self.parser.proceed(Version.V1_2, DEFAULT_LIMITS, memory=CACHE)

    def data_received(self, data: bytes) -> None:
        out: defaultdict[asyncio.Transport, list[bytes]] = defaultdict(list)
        for head, body in self.parser.feed(data):
            if head.command == "SEND":
                headers = head.block.partition(b"\n")[2]
                for subscriber in SUBSCRIBERS[head.headers["destination"]]:
                    number = next(NUMBERS)
                    out[subscriber].append(
                        b"MESSAGE\nsubscription:0\nack:1-%d\nmessage-id:%d\n%b\n\n%b\0"
                        % (number, number, headers, body)
                    )
            elif head.command == "CONNECT":
                out[self.transport].append(b"CONNECTED\nversion:1.2\n\n\0")
            elif head.command == "SUBSCRIBE":
                SUBSCRIBERS[head.headers["destination"]].append(self.transport)
            if "receipt" in head.headers:
                receipt = head.headers["receipt"].encode()
                out[self.transport].append(b"RECEIPT\nreceipt-id:%b\n\n\0" % receipt)
        for transport, parts in out.items():
            transport.write(b"".join(parts))

    def connection_lost(self, exc: Exception | None) -> None:
        for subscribers in SUBSCRIBERS.values():
            if self.transport in subscribers:
                subscribers.remove(self.transport)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Relay, "127.0.0.1", int(sys.argv[1]))
    port = server.sockets[0].getsockname()[1]
    print(f"relay ready stomp://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
