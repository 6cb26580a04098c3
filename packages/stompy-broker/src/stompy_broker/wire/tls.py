"""The broker's certificates: read, read again while it runs, and the names in those of clients."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import cast

from stompy.admin.parts import Tls
from stompy.transport.tls import TLSLayer
from stompy_broker.config import ConfigError, TLSConfig

_Pairs = Sequence[tuple[str, str]]
"""Names and values, as a certificate holds them."""

_VERIFY = {"no": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class Certificates:
    """What the broker shows to clients, and whom it trusts.

    Args:
        config: where the files are.

    Attributes:
        context: for the next connection; those that are open keep theirs.

    Raises:
        ConfigError: a file cannot be used.
    """

    def __init__(self, config: TLSConfig) -> None:
        self._config = config
        self.context = _read(config)

    def reload(self) -> None:
        """Read the files again.

        Raises:
            ConfigError: they cannot be used; what was read before stays in use.
        """
        self.context = _read(self._config)


def _read(config: TLSConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # An empty password, or OpenSSL would ask for one on the terminal.
        context.load_cert_chain(config.cert, config.key or None, "")
    except (OSError, ValueError) as error:
        names = f"tls.cert {config.cert!r}"
        if config.key:
            names += f", tls.key {config.key!r}"
        raise ConfigError(f"{names}: {_words(error)}") from None
    if config.client_ca:
        try:
            context.load_verify_locations(config.client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(f"tls.client_ca {config.client_ca!r}: {_words(error)}") from None
        context.verify_mode = _VERIFY[config.client_cert]
    return context


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        return reason or "holds no PEM certificate or key that fits"
    return getattr(error, "strerror", None) or str(error)


def login_of(connection: ssl.SSLObject, source: str) -> str | None:
    """The login that a client's verified certificate stands for.

    Args:
        connection: whose certificate.
        source: ``cn``, ``dn`` or ``san``, as ``tls.login_from`` says.

    Returns:
        None when there is no certificate, or no such name in it.
    """
    certificate = connection.getpeercert()
    if not certificate or not source:
        return None
    if source == "san":
        names = cast(_Pairs, certificate.get("subjectAltName", ()))
        return next((value for _, value in names), None)
    groups = cast(Sequence[_Pairs], certificate.get("subject", ()))
    pairs = [pair for group in groups for pair in group]
    if source == "cn":
        return next((value for name, value in pairs if name == "commonName"), None)
    return ",".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in pairs[::-1])


_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "userId": "UID",
}
"""Names of attributes in a distinguished name (RFC 4514, 3)."""


def _escaped(value: str) -> str:
    """A value in a distinguished name (RFC 4514, 2.4)."""
    return "".join(f"\\{mark}" if mark in ',+"\\<>;=' else mark for mark in value)


def facts_of(layer: TLSLayer) -> Tls:
    """What reports say about an encrypted connection whose handshake is done."""
    session = layer.ssl_object
    cipher = session.cipher()
    return {
        "version": session.version() or "",
        "cipher": cipher[0] if cipher else "",
        "subject": login_of(session, "dn") or "",
    }
