"""DKIM signatures (RFC 6376, RFC 8301, RFC 8463): a mail is signed with every key of its domain.

RSA is what every receiver checks, Ed25519 what some check too. Headers and body are canonicalised `relaxed/relaxed`,
and the whole body is signed. What all mails of a message share is hashed once: a mail costs its own five headers, its
body and the signatures.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

Algorithm = Literal["rsa", "ed25519"]
RSA_BITS: Final = 2048
"""What Gmail advises; 4096 do not fit into one answer of a DNS server that speaks UDP only."""
TAGS: Final[dict[Algorithm, str]] = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}
SIGNED: Final = frozenset({
    "from", "reply-to", "to", "subject", "date", "message-id", "mime-version", "content-type", "list-id",
    "list-unsubscribe", "list-unsubscribe-post", "feedback-id",
})  # fmt: skip
"""The headers that are signed. RFC 8058 §4 asks for the two of unsubscription, Gmail for Feedback-ID."""
OVERSIGNED: Final = (
    "from", "reply-to", "to", "cc", "subject", "date", "message-id", "mime-version", "content-type",
    "list-unsubscribe", "list-unsubscribe-post",
)  # fmt: skip
"""Named once more than they occur: whoever adds one of these on the way breaks the signature (RFC 6376 §8.15)."""
_LINE: Final = 72
_PADDING: Final = PKCS1v15()
_DIGEST: Final = Prehashed(hashes.SHA256())
_UNFOLD: Final = re.compile(r"\r\n(?=[ \t])")
_SPACES: Final = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class SigningKey:
    """A private key with the name under which its public half is published: `<selector>._domainkey.<domain>`."""

    domain: str
    selector: str
    algorithm: Algorithm
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = field(repr=False)

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(digest, _PADDING, _DIGEST)
        return self.private.sign(digest)


def generate(algorithm: Algorithm) -> tuple[bytes, str]:
    """A fresh key: its private half as PKCS #8, its public half as the `p=` of a DKIM record."""
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if algorithm == "rsa":
        private = rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
    secret = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, base64.b64encode(public).decode()


def opened(domain: str, selector: str, algorithm: Algorithm, secret: bytes) -> SigningKey:
    """The key of a private half as `generate` made it. Raises ValueError for anything else."""
    private = serialization.load_der_private_key(secret, None)
    if not isinstance(private, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ValueError("neither an RSA nor an Ed25519 key")
    return SigningKey(domain, selector, algorithm, private)


class Signatures:
    """Signs the mails that share their `fixed` headers, a block of whole lines without the last line end."""

    def __init__(self, keys: Sequence[SigningKey], fixed: str) -> None:
        self.keys = tuple(keys)
        self._shared = hashlib.sha256()
        self._fixed: list[str] = []
        for line in _UNFOLD.sub("", fixed).split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() in SIGNED:
                self._fixed.append(name.lower())
                self._shared.update(_relaxed(name, value))
        self._listed: dict[tuple[str, ...], str] = {}

    def headers(self, varying: Sequence[tuple[str, str]], body: bytes, now: datetime) -> str:
        """The DKIM-Signature headers of a mail, each with its line end.

        `varying` are the mail's other headers as they stand in it, folded or not; `body` has CRLF line ends.
        """
        digest = self._shared.copy()
        for name, value in varying:
            if name.lower() in SIGNED:
                digest.update(_relaxed(name, _UNFOLD.sub("", value)))
        listed = self._names(tuple(name.lower() for name, _ in varying))
        hashed = base64.b64encode(hashlib.sha256(relaxed_body(body)).digest()).decode()
        return "".join(self._header(key, listed, hashed, digest.copy(), now) for key in self.keys)

    @staticmethod
    def _header(key: SigningKey, listed: str, hashed: str, digest: hashlib._Hash, now: datetime) -> str:
        value = (
            f" v=1; a={TAGS[key.algorithm]}; c=relaxed/relaxed; d={key.domain};\r\n s={key.selector};"
            f" t={int(now.timestamp())};\r\n h={listed};\r\n bh={hashed};\r\n b="
        )
        # The header is part of what it signs, with nothing after `b=` and without its line end (RFC 6376 §3.7).
        digest.update(_relaxed("DKIM-Signature", _UNFOLD.sub("", value))[:-2])
        signature = base64.b64encode(key.sign(digest.digest())).decode()
        folded = "\r\n ".join(signature[start : start + _LINE] for start in range(0, len(signature), _LINE))
        return f"DKIM-Signature:{value}{folded}\r\n"

    def _names(self, varying: tuple[str, ...]) -> str:
        """The value of `h=`, folded: fixed headers first, because their hash is at hand."""
        if varying not in self._listed:
            names = [*self._fixed, *(name for name in varying if name in SIGNED), *OVERSIGNED]
            self._listed = {varying: "\r\n ".join(_folded(names))}
        return self._listed[varying]


def relaxed_body(body: bytes) -> bytes:
    """The `relaxed` form of a body (RFC 6376 §3.4.4): runs of blanks are one, none end a line, no empty lines end it.

    By `replace`, which takes a small part of the time of a regular expression.
    """
    text = body.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    text = (text + b"\r\n").replace(b" \r\n", b"\r\n").rstrip(b"\r\n")
    return text + b"\r\n" if text else b""


def _relaxed(name: str, value: str) -> bytes:
    """The `relaxed` form of an unfolded header (RFC 6376 §3.4.2), with its line end."""
    return f"{name.lower()}:{_SPACES.sub(' ', value).strip()}\r\n".encode()


def _folded(names: Iterable[str]) -> list[str]:
    """Names with colons between them, on lines that are not too long."""
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > _LINE:
            lines.append("")
        lines[-1] += f"{name}:"
    lines[-1] = lines[-1][:-1]
    return lines
