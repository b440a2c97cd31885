"""A certificate authority of our own, and the certificates of servers it signs."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from base.clock import SystemClock

NOW = SystemClock().now()


class Authority:
    """A certificate authority of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.path = folder / "authority.pem"
        self.path.write_bytes(self._sign(self.name, self.key, timedelta(days=365), None))

    def certificate(self, host: str, days: int, *addresses: str) -> ssl.SSLContext:
        """A server's side of TLS for a host and these IP addresses, valid until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self.folder / f"{host}-{days}.pem"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(self._sign(name, key, timedelta(days=days), host, addresses) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        until: timedelta,
        host: str | None,
        addresses: Sequence[str] = (),
    ) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=400))
            .not_valid_after(NOW + until)
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            places = [x509.DNSName(host), *(x509.IPAddress(ip_address(one)) for one in addresses)]
            made = made.add_extension(x509.SubjectAlternativeName(places), critical=False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
