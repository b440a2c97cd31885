"""The spelling of every Valkey key, each in one place and with one writer (named in its docstring).

State, shown and used carry the profile as hash tag, so that a cluster keeps them on one node and one script may touch
them all.
"""

from __future__ import annotations

from typing import Final

from base.slots import even_tags

RECORDS: Final = "records"
"""The stream of sealed records; written by render, read by the recorder. Of one server; a cluster has several."""

STREAMS: Final = 64
"""Record streams of a cluster. Their slots are 256 apart, so that a node with so many in a row owns one at least."""


def record_streams() -> tuple[str, ...]:
    """The record streams of a cluster: an entry goes to one on the node of what is written with it."""
    return tuple(f"{RECORDS}:{{{tag}}}" for tag in even_tags(STREAMS))


def refused(stream: str) -> str:
    """The stream of what was set aside of a record stream, beside it: on its node. Writer: recorder."""
    return stream.replace(RECORDS, f"{RECORDS}:refused", 1)


def state(profile: int) -> str:
    """The profile state or an erasure tombstone. Writer: signals."""
    return f"{{{profile}}}:state"


def state_of_any() -> str:
    """The pattern of all states."""
    return "{*}:state"


def shown(profile: int, delivery: str) -> str:
    """What was shown in one delivery (`Delivery.name`), per lane. Writer: render."""
    return f"{{{profile}}}:shown:{delivery}"


def contact(profile: int, name: str) -> str:
    """What was shown in one contact of a channel without deliveries. Writer: render."""
    return f"{{{profile}}}:shown:contact:{name}"


def used(profile: int) -> str:
    """Counts and last times per offer, group and stage, over all deliveries. Writer: render.

    What is in it of the other profiles of the same person is the recorder's (workers/counts.py), who writes it beside
    what is there, and only over what it has read.
    """
    return f"{{{profile}}}:used"


def live(campaign: int) -> str:
    """Which plan a campaign runs, and its switches. Writer: campaigns."""
    return f"live:{campaign}"


def plan(digest: str) -> str:
    """A published campaign, by the SHA-256 hex of its bytes. Writer: campaigns."""
    return f"plan:{digest}"


def api_key(key_id: str) -> str:
    """An API or site key. Writer: campaigns."""
    return f"key:{key_id}"


def product(product_id: str) -> str:
    """Price, stock and feed time of a product. Writer: signals."""
    return f"product:{product_id}"


def cap(offer: int) -> str:
    """The balance of an offer's total cap. Writer: render (campaigns creates it at publish)."""
    return f"cap:{offer}"
