"""URLs as released versions minted them, kept so that no later version stops answering them.

`python -m tests.promises.minting VERSION` writes `urls/VERSION.json` with fixed test keys; it refuses to overwrite one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.ids import TEST_BIT, Delivery
from base.tokens import TokenKeys
from campaigns.links import mint

FOLDER = Path(__file__).parent / "urls"
BASE = "https://mail.example.com"
SENT_S = 2252 * 86_400
"""2 March 2026."""
DELIVERIES = (Delivery(1, 1, 1), Delivery(2**63 - 1, 2**31 - 1, 2**31 - 1), Delivery(4711, 7, TEST_BIT | 3))
SIZES = ((600, 300), (280, 200), (20, 10), (1260, 600))
FORMATS = ("jpg", "png", "gif")


@dataclass(frozen=True)
class Place:
    """A slot as links need it."""

    index: int
    width: int
    height: int
    fmt: str


def key(version: str) -> bytes:
    """The fixed key of a version's URLs; nobody sends with it."""
    return hashlib.sha512(f"test key of {version}".encode()).digest()


def minted(version: str, number: int) -> dict[str, Any]:
    """Addresses of every purpose, format and kind of delivery, minted with this version's key."""
    keys = TokenKeys({number: key(version)}, number)
    urls: list[dict[str, Any]] = []
    for delivery in DELIVERIES:
        for neutral in (False, True):
            places = [Place(index, *size, FORMATS[index % len(FORMATS)]) for index, size in enumerate(SIZES)]
            made = mint(keys, BASE, delivery, places, SENT_S, neutral=neutral)
            for place in places:
                slot = made.slots[place.index]
                size = [2 * place.width, 2 * place.height]
                urls += [
                    {"path": slot.picture, "kind": "picture", "size": size, "format": place.fmt},
                    {"path": slot.dark, "kind": "picture", "size": size, "format": place.fmt},
                    {"path": slot.click, "kind": "click"},
                    {"path": slot.html, "kind": "html"},
                ]
            urls += [{"path": made.view, "kind": "view"}, {"path": made.unsubscribe, "kind": "unsubscribe"}]
    for url in urls:
        url["path"] = url["path"].removeprefix(BASE)
    return {"version": version, "key_id": number, "key": key(version).hex(), "urls": urls}


def main(version: str) -> None:
    """Write the file of a version."""
    target = FOLDER / f"{version}.json"
    if target.exists():
        sys.exit(f"{target.name} is there already: what was mailed does not change")
    number = len(list(FOLDER.glob("*.json"))) + 1
    made = minted(version, number)
    urls = ",\n  ".join(json.dumps(url) for url in made.pop("urls"))
    target.write_text(json.dumps(made)[:-1] + f', "urls": [\n  {urls}\n]}}\n')


if __name__ == "__main__":
    main(sys.argv[1])
