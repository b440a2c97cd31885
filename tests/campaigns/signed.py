"""Keys to sign with, and dkimpy to say of a mail whether receivers would believe its signatures."""

from __future__ import annotations

import dkim

from campaigns import signing
from campaigns.signing import Algorithm, SigningKey

ALGORITHMS: tuple[Algorithm, ...] = ("rsa", "ed25519")


class Published:
    """Keys with the records that publish them."""

    def __init__(self, domain: str = "example.com", algorithms: tuple[Algorithm, ...] = ALGORITHMS) -> None:
        self.records: dict[str, str] = {}
        self.keys: list[SigningKey] = []
        for algorithm in algorithms:
            secret, public = signing.generate(algorithm)
            self.keys.append(signing.opened(domain, f"test-{algorithm}", algorithm, secret))
            self.put(f"test-{algorithm}._domainkey.{domain}", f"v=DKIM1; k={algorithm}; p={public}")

    def put(self, name: str, text: str) -> None:
        """Publish a record."""
        self.records[name] = text

    def verdicts(self, mail: bytes) -> list[bool]:
        """What a receiver finds of each signature of a mail, from the top."""

        def look(name: bytes, timeout: int = 5) -> bytes | None:
            found = self.records.get(name.decode().rstrip("."))
            return found.encode() if found is not None else None

        def verdict(number: int) -> bool:
            try:
                return bool(dkim.DKIM(mail).verify(number, dnsfunc=look))
            except dkim.ValidationError:
                return False

        return [verdict(number) for number in range(mail.partition(b"\r\n\r\n")[0].count(b"DKIM-Signature:"))]
