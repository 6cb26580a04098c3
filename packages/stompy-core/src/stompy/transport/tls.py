"""TLS: the options of a client, and the layer that encrypts. Verifies unless told otherwise.

The layer works in memory, so reading and writing never wait for each other inside OpenSSL, and
the one who owns the socket decides alone when it is read and written.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from dataclasses import dataclass, field

from stompy.transport.layers import LayerError

logger = logging.getLogger("stompy")

_READ_SIZE = 256 * 1024

_NOT_TLS = frozenset(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"))
_WANTS_OURS = frozenset(("TLSV13_ALERT_CERTIFICATE_REQUIRED", "PEER_DID_NOT_RETURN_A_CERTIFICATE"))
_REFUSES_OURS = frozenset(
    (
        "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    )
)
"""How the other side says what it thinks of a certificate, as OpenSSL names it."""


class CertificateError(LayerError):
    """A certificate is not trusted, does not fit, or is missing."""

    is_final = True


@dataclass(frozen=True, slots=True)
class TLS:
    """How a client uses TLS. The default is right for a broker with a public certificate.

    Args:
        ca_file: PEM file of the authorities to trust instead of the system's.
        cert_file: PEM file of our own certificate and its chain, for a broker that wants one.
        key_file: PEM file of its key; default: the key is in ``cert_file``.
        key_password: what the key is encrypted with.
        server_hostname: the name that the broker's certificate must have; default: the host that
            is connected to.
        insecure: do not verify anything. Whoever is on the way can then read and change all of it.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)
    server_hostname: str | None = None
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """An SSL context with these settings.

        Raises:
            ValueError: a file cannot be read or used, or settings contradict each other.
        """
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("TLS(key_file=…) needs the certificate as well: cert_file=…")
        if self.insecure and self.ca_file is not None:
            raise ValueError("TLS(insecure=True) verifies nothing, so ca_file is of no use")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise ValueError(f"TLS ca_file {self.ca_file!r}: {_words(error)}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file is not None:
            password = "" if self.key_password is None else self.key_password
            try:
                # Without a password OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, password)
            except OSError as error:
                key = "" if self.key_file is None else f", key_file {self.key_file!r}"
                raise ValueError(
                    f"TLS cert_file {self.cert_file!r}{key}: {_words(error)}"
                ) from None
        return context


class TLSLayer:
    """The end of a TLS connection, in memory.

    Args:
        context: certificates and rules.
        server_side: whether this is the server's end.
        server_hostname: the name that the server's certificate must have.
    """

    name = "TLS"

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
        )
        self._ready = False
        self._ended = False
        if not server_side:
            self._handshake()

    @property
    def ready(self) -> bool:
        """Whether the handshake is done."""
        return self._ready

    @property
    def ended(self) -> bool:
        """Whether the peer has closed TLS."""
        return self._ended

    @property
    def end_reason(self) -> str:
        """Nothing: in TLS an end is an end."""
        return ""

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """For who wants to know version, cipher or the peer's certificate."""
        return self._ssl

    def receive(self, data: bytes) -> bytes:
        """Decrypt.

        Raises:
            LayerError: it is not TLS, or was changed on the way.
            CertificateError: because of a certificate, of either side.
        """
        self._incoming.write(data)
        if not self._ready and not self._handshake():
            return b""
        parts = []
        try:
            while part := self._ssl.read(_READ_SIZE):
                parts.append(part)
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            raise _failure(error) from error
        return b"".join(parts)

    def _handshake(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _failure(error) from error
        self._ready = True
        return True

    def send(self, data: bytes | memoryview) -> bytes:
        """Encrypt.

        Raises:
            LayerError: TLS has ended.
        """
        if data:
            try:
                self._ssl.write(data)
            except ssl.SSLError as error:
                raise _failure(error) from error
        return self._outgoing.read()

    def take(self) -> bytes:
        """Take what the layer itself has to write: handshake, alerts, the closing."""
        return self._outgoing.read()

    def close(self) -> None:
        """Tell the peer that nothing more comes."""
        # What the peer answers is for the owner of the socket to wait for, or not.
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._ssl.unwrap()


def client_context(options: ssl.SSLContext | TLS | None) -> ssl.SSLContext:
    """The context for what a user gave as ``tls=``.

    Raises:
        ValueError: as for `TLS.context`.
    """
    if isinstance(options, ssl.SSLContext):
        return options
    return (options or TLS()).context()


def client_layer(options: ssl.SSLContext | TLS | None, host: str) -> TLSLayer:
    """The client's end of TLS with a host.

    Raises:
        ValueError: as for `TLS.context`.
    """
    return TLSLayer(client_context(options), server_hostname=expected_hostname(options, host))


def expected_hostname(options: ssl.SSLContext | TLS | None, host: str) -> str:
    """The name that the certificate of a host must have. Warns when nobody will look."""
    if isinstance(options, TLS):
        if options.insecure:
            logger.warning(
                "TLS to %s is NOT verified (insecure=True): whoever is on the way can read and "
                "change everything",
                host,
            )
        return options.server_hostname or host
    return host


def _failure(error: ssl.SSLError) -> LayerError:
    """An error of OpenSSL in words that say what to do."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateError(
            TLSLayer.name,
            f"the certificate is not trusted: {error.verify_message.rstrip('.')}. Give the "
            "authority that signed it as TLS(ca_file=…), or the name in it as "
            "TLS(server_hostname=…)",
        )
    if reason in _WANTS_OURS:
        return CertificateError(
            TLSLayer.name,
            "the other side wants a certificate of ours: give it as TLS(cert_file=…, key_file=…)",
        )
    if reason in _REFUSES_OURS:
        words = reason.partition("ALERT_")[2].replace("_", " ").lower()
        return CertificateError(
            TLSLayer.name, f"the other side does not accept our certificate: {words}"
        )
    if reason in _NOT_TLS:
        return LayerError(TLSLayer.name, "what answers there does not speak TLS")
    return LayerError(TLSLayer.name, _words(error))


_OPTIONS = (
    ("TLS(ca_file=…)", "--ca-file"),
    ("TLS(server_hostname=…)", "--server-hostname"),
    ("TLS(cert_file=…, key_file=…)", "--cert-file and --key-file"),
    ("TLS(key_file=…)", "--key-file"),
    ("TLS(insecure=True)", "--insecure"),
    ("cert_file=…", "--cert-file"),
    ("TLS ca_file", "--ca-file"),
    ("TLS cert_file", "--cert-file"),
    (", key_file", ", --key-file"),
    ("so ca_file", "so --ca-file"),
)
"""What a program writes, and the option of the command lines that means the same."""


def as_options(text: str) -> str:
    """What an error says about `TLS`, for who has a command line and no program."""
    for program, option in _OPTIONS:
        text = text.replace(program, option)
    return text


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error) or "not a certificate"
