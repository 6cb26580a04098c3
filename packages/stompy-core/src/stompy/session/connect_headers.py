"""The headers of CONNECT, as both clients write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stompy.session.address import Address
from stompy.session.commands import HeaderValue, as_text


@dataclass(frozen=True, slots=True, repr=False)
class ConnectHeaders:
    """What CONNECT says of who connects, to whichever broker; what is None, the address says."""

    login: str | None
    passcode: str | None
    host: str | None
    headers: Mapping[str, HeaderValue]

    def to(self, address: Address) -> dict[str, str]:
        """The headers of CONNECT, but for what the protocol adds itself.

        Raises:
            TypeError: a value that is neither text nor a number.
        """
        chosen = {
            "host": self.host or address.vhost or "/",
            "login": address.login if self.login is None else self.login,
            "passcode": address.passcode if self.passcode is None else self.passcode,
        }
        given = {name: value for name, value in chosen.items() if value is not None}
        return as_text({**given, **self.headers})

    @property
    def client_id(self) -> str | None:
        """The ``client-id``, which durable subscriptions need."""
        client_id = self.headers.get("client-id")
        return None if client_id is None else str(client_id)
