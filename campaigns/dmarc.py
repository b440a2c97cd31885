"""A domain's DMARC policy, found by the tree walk of RFC 9989: the domain's own record, else that of one above it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from campaigns.lookups import Lookups

MAX_STEPS: Final = 8
"""How many names are asked for one domain (RFC 9989 §4.10)."""
_VERSION: Final = re.compile(r"\s*v\s*=\s*DMARC1\s*(;|$)", re.IGNORECASE)
_TAG: Final = re.compile(r"\s*([a-z]+)\s*=\s*([^;]*)", re.IGNORECASE)
POLICIES: Final = ("none", "quarantine", "reject")


@dataclass(frozen=True)
class Policy:
    """What a domain asks of receivers. `domain` is where the record was found; `strict_*` want the very same domain.

    What lies at or below `organisation` speaks for each other where that may be relaxed.
    """

    domain: str
    organisation: str
    policy: str
    strict_dkim: bool
    strict_spf: bool
    has_reports: bool


class Broken(Exception):
    """A record that receivers pass over; says why."""


def policy(lookups: Lookups, domain: str) -> Policy | None:
    """The policy that holds for a domain, None where nobody states one. Raises Broken, NoAnswer."""
    found: dict[str, dict[str, str]] = {}
    for name in _walk(domain):
        texts = [text for text in lookups.texts(f"_dmarc.{name}") if _VERSION.match(text)]
        if len(texts) > 1:
            raise Broken(f"_dmarc.{name} has {len(texts)} DMARC records; receivers then take none.")
        if texts:
            found[name] = {tag.lower(): value.strip() for tag, value in _TAG.findall(texts[0])}
            if found[name].get("psd", "u").lower() == "n":
                break
    if not found:
        return None
    name, tags = next(iter(found.items()))
    return _read(name, _organisation(domain, found), domain, tags)


def is_aligned(domain: str, other: str, found: Policy, *, strict: bool) -> bool:
    """Whether a signature or an envelope sender of `other` speaks for mails from `domain`."""
    return domain == other if strict else other == found.organisation or other.endswith(f".{found.organisation}")


def _walk(domain: str) -> list[str]:
    """The names to ask, the domain itself first; of a long one, the seven next to the root after it."""
    labels = domain.split(".")
    above = [".".join(labels[start:]) for start in range(1, len(labels))]
    return [domain, *above[-(MAX_STEPS - 1) :]]


def _organisation(domain: str, found: dict[str, dict[str, str]]) -> str:
    """The organisational domain: the highest with a record, or the one below it where that is a public suffix's."""
    highest = list(found)[-1]
    if found[highest].get("psd", "u").lower() == "y" and domain != highest:
        return domain.removesuffix(f".{highest}").rpartition(".")[2] + f".{highest}"
    return highest


def _read(name: str, organisation: str, domain: str, tags: dict[str, str]) -> Policy:
    wanted = (tags.get("sp") if name != domain else None) or tags.get("p", "none")
    if wanted.lower() not in POLICIES:
        raise Broken(f"_dmarc.{name} asks for p={wanted}, which is none of {', '.join(POLICIES)}.")
    dkim, envelope = (tags.get(tag, "r").lower() == "s" for tag in ("adkim", "aspf"))
    return Policy(name, organisation, wanted.lower(), dkim, envelope, "rua" in tags)
