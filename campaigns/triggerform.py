"""What a triggered campaign waits for, as a form: one of the usual behaviours, of a category or of any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from base.errors import InvalidInput
from campaigns.campaigns import Trigger

EVENTS: Final = {
    "Product Viewed": "looks at a product",
    "Product Added": "puts something into the cart",
    "Checkout Started": "begins a checkout",
    "Order Completed": "orders",
    "Product Registered": "registers a product",
    "Product Reviewed": "writes a review",
    "Complaint Closed": "has had a complaint settled",
}
"""What may be chosen, in words; the API takes any event."""


def read(form: Mapping[str, str], before: Trigger | None = None) -> Trigger:
    """What was chosen; an event that the form does not offer is kept. Raises InvalidInput when nothing was chosen."""
    event = form.get("event", "")
    if before is not None and not event:
        event = before.event
    elif event not in EVENTS:
        raise InvalidInput("trigger", "must be chosen: it is what the campaign waits for")
    return Trigger(event=event, category=form.get("trigger-category", "").strip() or None)
