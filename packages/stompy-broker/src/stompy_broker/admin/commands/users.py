"""The command about users: what each may use, and uses."""

from __future__ import annotations

from stompy.admin.rows import Role
from stompy_broker.admin.commands.base import Argument, Call, Command, CommandContext, Result
from stompy_broker.session.quotas import UserQuota
from stompy_broker.session.turn_line import TurnLine


class UserCommands:
    """The command about users.

    Args:
        context: what it has to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "user.usage",
                Role.MONITOR,
                "What users have used of their quotas; of those who are there, or have something "
                "in queues.",
                self._usage,
                (Argument("user", "text", "only this one"),),
            )
        ]

    def _usage(self, call: Call) -> Result:
        quotas, wanted = self._context.quotas(), call.args["user"]
        found = [] if quotas is None else [one for one in quotas if wanted in (None, one.name)]
        rows = [_row(one) for one in sorted(found, key=lambda one: one.name)]
        return {"total": len(rows), "rows": rows}


def _row(quota: UserQuota) -> dict[str, object]:
    config, storage = quota.config, quota.storage
    limits: dict[str, object] = {}
    for line in (quota.sending, quota.receiving):
        limits |= _rates(quota, line)
    if quota.connecting is not None:
        used = quota.connecting.used(quota.now)
        limits["connect_rate"] = {"limit": config.connect_rate, "used": round(used, 3)}
    numbers = {
        "connections": (len(quota.clients), config.connections),
        "subscriptions": (quota.subscriptions, config.subscriptions),
        "queues": (len(storage.queues), config.queues),
        "stored_messages": (storage.messages.used, config.stored_messages),
        "stored_bytes": (storage.octets.used, int(config.stored_bytes)),
    }
    for key, (count, limit) in numbers.items():
        if limit:
            limits[key] = {"limit": limit, "used": count}
    return {
        "user": quota.name,
        "role": quota.role.value,
        "quota": f"quota.{quota.index}",
        "match": config.user,
        "on_excess": config.on_excess,
        "connections": len(quota.clients),
        "blocked": sum([one.held_by == "quota" for one in quota.clients]),
        "waiting_subscriptions": len(quota.receiving),
        "refused": quota.refused,
        "limits": limits,
    }


def _rates(quota: UserQuota, line: TurnLine) -> dict[str, object]:
    """Of each rate its text, and how much of a burst is used: 1 = all of it, more = a debt."""
    return {
        key: {"limit": getattr(quota.config, key), "used": round(used, 3)}
        for key, (_, used) in line.used().items()
    }
