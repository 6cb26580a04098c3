"""The broker's certificates: read, read again while it runs, and the names in those of clients."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from stompy.admin.json_types import Tls
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


def validity_warnings(file: str, now: datetime) -> list[str]:
    """What to say of the time for which a certificate is valid; for people.

    Args:
        file: its PEM file, which can be used.
        now: what time it is, with time zone.
    """
    try:
        pem = Path(file).read_text(encoding="ascii", errors="replace")
        end = pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
        begins, ends = _validity(ssl.PEM_cert_to_DER_cert(pem[pem.index(ssl.PEM_HEADER) : end]))
    except (OSError, ValueError, IndexError):  # OpenSSL can use it, and knows more forms than we
        return []
    if ends < now:
        return [f"tls.cert {file!r} has expired on {ends:%Y-%m-%d %H:%M} UTC; clients refuse it"]
    if begins > now:
        return [f"tls.cert {file!r} is not valid before {begins:%Y-%m-%d %H:%M} UTC"]
    return []


def _validity(certificate: bytes) -> tuple[datetime, datetime]:
    """From when to when a certificate is valid (RFC 5280, 4.1)."""
    _, body = _element(certificate)
    fields = _elements(_element(body)[1])
    if fields[0][0] == _VERSION:
        del fields[0]
    _serial, _signature, _issuer, (_, validity), *_ = fields
    begins, ends = (_time(*element) for element in _elements(validity))
    return begins, ends


_VERSION, _UTC_TIME = 0xA0, 0x17


def _element(data: bytes) -> tuple[int, bytes]:
    """Tag and content of the first DER element."""
    return _elements(data)[0]


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            octets = length & 0x7F
            length, at = int.from_bytes(data[at : at + octets], "big"), at + octets
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text, form).replace(tzinfo=UTC)


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
