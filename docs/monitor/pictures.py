"""The pictures of the monitor in the manual, drawn by the program from a recording.

``make pictures`` writes them; a test draws them again and compares. The recordings are one of
``make demo``, one of ``stompy-broker cluster demo`` in which a broker is killed, and one of a
broker in virtual time that has some schedules; bodies are never recorded, so those that are shown
stand here. The clock stands still.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TZ"] = "UTC"
time.tzset()

from textual.pilot import Pilot  # noqa: E402 -- after the time zone

from stompy.admin import Reply, Request, Role  # noqa: E402
from stompy_monitor.app import MonitorApp  # noqa: E402
from stompy_monitor.dashboard import Options  # noqa: E402
from stompy_monitor.model.model import Model  # noqa: E402
from stompy_monitor.sources.base import ConnectionStatus, Phase  # noqa: E402
from stompy_monitor.sources.recording import Recording  # noqa: E402
from stompy_monitor.sources.replay import Replay  # noqa: E402

HERE = Path(__file__).parent
RECORDING = HERE / "demo.recording"
CLUSTER_RECORDING = HERE / "cluster.recording"
SCHEDULES_RECORDING = HERE / "schedules.recording"
DEFAULT = Options()
LARGE, SMALL = (120, 36), (80, 24)


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: of the file.
        keys: what is pressed.
        words: what must be seen on it, so that a picture of a crash is no picture.
        size: of the terminal.
        options: of the program.
        phase: of the connection.
        recording: what is on it.
    """

    name: str
    keys: tuple[str, ...]
    words: tuple[str, ...]
    size: tuple[int, int] = LARGE
    options: Options = DEFAULT
    phase: Phase = Phase.LIVE
    recording: Path = RECORDING


QUEUES = Options(view="queues")
PICTURES = (
    Picture("overview", (), ("Deepest queues", "Alarms", "close-the-books")),
    Picture("queues", ("2", "down", "down"), ("labels", "no consumers", "newsletter")),
    Picture("queue", ("2", "slash", *"labels", "enter", "enter"), ("Consumers", "printer")),
    Picture("filter", ("2", "slash", *"ready", "greater_than_sign", *"10"), ("ready>10",)),
    Picture("messages", ("2", "slash", *"labels", "enter", "m"), ("m-1", "label for order")),
    Picture("message", ("2", "slash", *"labels", "enter", "m", "enter"), ("Headers", '"order": 4')),
    Picture("purge", ("2", "slash", *"labels", "enter", "P"), ("will be destroyed",)),
    Picture("dead", ("3",), ("rejected", "DLQ.orders")),
    Picture("editor", ("3", "enter", "e"), ("rejected, no such fork", "Compare")),
    Picture("topics", ("4",), ("weather.oslo.frost",)),
    Picture("connections", ("5",), ("printer", "accounts")),
    Picture("subscriptions", ("6",), ("/queue/labels", "individual")),
    Picture("durable", ("7",), ("archive.weather",)),
    Picture("transactions", ("8", "enter"), ("close-the-books", "/queue/ledger")),
    Picture("events", ("9",), ("connection.closed",)),
    Picture("scheduled", ("L", "down"), ("weekly", "every 1m 00s"), recording=SCHEDULES_RECORDING),
    Picture("cluster", ("C",), ("2 of 3 brokers up", "lost"), recording=CLUSTER_RECORDING),
    Picture("help", ("2", "question_mark"), ("Actions: a preview",)),
    Picture("lost", ("2",), ("lost 12:00", "as of"), phase=Phase.LOST),
    Picture("small", ("2",), ("labels",), SMALL),
    Picture("ascii", (), ("Deepest queues",), LARGE, Options(ascii_only=True)),
    Picture("light", ("2",), ("labels",), LARGE, Options(theme="stompy-light")),
    Picture("colour-blind", ("2",), ("labels",), LARGE, Options(theme="stompy-colour-blind-dark")),
)

_BODY = '{"order": 4711, "goods": ["fork", "knife"], "label": "A4"}'
_HEADERS = {
    "destination": "/queue/labels",
    "content-type": "application/json",
    "order": "4711",
    "persistent": "true",
}

_OF_A_DEATH = {
    "destination": "/queue/DLQ.orders",
    "original-destination": "/queue/orders",
    "x-last-death-reason": "rejected",
    "x-death-info": "no such fork",
}
_COMMANDS = (
    ("message.edit_and_retry",),
    ("message.move", "selector"),
    ("message.peek", "selector"),
    ("queue.purge", "selector"),
)


def _known(name: str, *args: str) -> dict[str, object]:
    """A command as the broker tells of it."""
    return {"name": name, "allowed": True, "args": [{"name": one} for one in args]}


class Past:
    """A recording that passes for a broker, and answers questions about bodies.

    Args:
        model: for which it is played up to shortly before its end.
        path: of the recording.
    """

    def __init__(self, model: Model, path: Path) -> None:
        self.model = model
        self.recording = Recording(path)
        Replay(self.recording, model, at=self.recording.end - 5_000, playing=False)
        self.status = ConnectionStatus()

    async def run(self) -> None:
        """Nothing more comes."""

    def retry_now(self) -> None:
        """There is nothing to retry."""

    def log_in(self, login: str, passcode: str) -> None:
        """There is nothing to log in to."""

    async def ask(self, request: Request, seconds: float = 10.0) -> Reply:
        answers: dict[str, dict[str, Any]] = {
            "message.peek": {"messages": list(self._messages(request)), "more": False},
            "message.get": {"message_id": "m-1", "headers": self._headers(request), "body": _BODY},
            "broker.help": {"commands": [_known(*one) for one in _COMMANDS]},
            "message.count": {
                "count": 198,
                "groups": [
                    self._group("/queue/orders", "rejected", 185, 96_000),
                    self._group("/queue/orders", "expired", 13, 61_000),
                ],
            },
            "queue.purge": {"matched": 1204, "unacked": 10},
        }
        return Reply(request.cmd, answers[request.cmd])

    def _messages(self, request: Request) -> Any:
        if request.args.get("state") == "unacked":
            return
        for number in range(1, 12):
            text = _BODY if number == 1 else f"label for order {4711 + 20 * number}"
            kind = {"content-type": "application/json"} if number == 1 else {}
            yield {
                "message_id": f"m-{number}",
                "headers": {**_HEADERS, "content-type": "text/plain", **kind},
                "body": text,
                "body_bytes": len(text),
                "size": len(text) + 180,
                "received_at": self.model.at - 90_000 + number * 250,
                "deliveries": int(number == 1),
                "state": "ready",
            }

    def _headers(self, request: Request) -> dict[str, str]:
        dead = str(request.args.get("queue", "")).startswith("/queue/DLQ.")
        return {**_HEADERS, **_OF_A_DEATH} if dead else _HEADERS

    def _group(self, origin: str, reason: str, count: int, age: int) -> dict[str, object]:
        at = self.model.at
        group = {"origin": origin, "reason": reason, "count": count, "bytes": count * 260}
        return {**group, "oldest_at": at - age, "newest_at": at - 2_000}


class Scene:
    """The program on the stage, with a clock that goes when it is told to."""

    def __init__(self, picture: Picture) -> None:
        self.seconds = 100.0
        model = Model()
        past = Past(model, picture.recording)
        recording = past.recording
        past.status = ConnectionStatus(
            url="stomp://127.0.0.1:61613",
            phase=picture.phase,
            role=Role.ADMIN,
            user="ops",
            latest_at=self.seconds - 0.4,
            retry_at=self.seconds + 4,
            lost_at=(recording.end // 86_400_000) * 86_400_000 + 43_200_000,
        )
        model.know_own("c-12")
        self.app = MonitorApp(
            model,
            past,
            picture.options,
            clock=lambda: self.seconds,
            wall=lambda: model.at + 400,
        )

    async def draw(self, picture: Picture) -> tuple[str, str]:
        """The picture, and its text."""
        async with self.app.run_test(size=picture.size) as pilot:
            await self.app.dashboard.group_dead_letters()
            await self._settle(pilot)
            for key in picture.keys:
                await pilot.press(key)
                await self._settle(pilot)
            return _clean(self.app.export_screenshot(title="")), self._text()

    async def _settle(self, pilot: Pilot[int]) -> None:
        for _ in range(3):
            looking = [w for w in self.app.workers if w.group in ("peek", "body", "learn")]
            if looking:
                await self.app.workers.wait_for_complete(looking)
            await pilot.pause()
            self.app.tick()
        await pilot.pause()

    def _text(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(part.text for part in strip).rstrip() for strip in strips)


def _clean(svg: str) -> str:
    """Without fonts from elsewhere and without blanks at the ends of lines."""
    svg = re.sub(r"\s*@font-face \{.*?\}\n", "\n", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def draw(picture: Picture) -> tuple[str, str]:
    """The picture as SVG, and its text."""
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    return asyncio.run(Scene(picture).draw(picture))


def main() -> None:
    for picture in PICTURES:
        svg, text = draw(picture)
        missing = [word for word in picture.words if word not in text]
        if missing:
            raise SystemExit(f"{picture.name}: {missing} cannot be seen in\n{text}")
        (HERE / f"{picture.name}.svg").write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
