"""The command about routes that the configuration lays between destinations."""

from __future__ import annotations

from stompy.admin.rows import Role
from stompy_broker.admin.commands.base import Call, Command, CommandContext, Result


class RouteCommands:
    """The command about routes.

    Args:
        context: what it has to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command("route.list", Role.MONITOR, "The routes, in their order.", self._list),
        ]

    def _list(self, call: Call) -> Result:
        routes = self._context.router.directions.routes
        rows = [
            {"number": number, **route.model_dump(mode="json")}
            for number, route in enumerate(routes)
        ]
        return {"total": len(rows), "rows": rows}
