"""Hand-made people for the two tales, and how a shop's server tells of what they do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


@dataclass
class Character:
    """Somebody of a tale. `tale` is a trait by which an audience finds them; message ids are unique within a run."""

    name: str
    tale: str
    run: str
    traits: dict[str, Any] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: count(1))

    @property
    def user_id(self) -> str:
        """The id the shop knows them by."""
        return f"{self.tale}-{self.name.lower()}"

    @property
    def address(self) -> str:
        """Invented, as all addresses of the demo."""
        return f"{self.name.lower()}.{self.tale}@example.com"

    def introduced(self, at: datetime) -> list[bytes]:
        """Who they are and that they want mail."""
        traits = {"email": self.address, "firstName": self.name, "tale": self.tale} | self.traits
        wording = "Send me offers that fit what I buy."
        return [
            self._call(at, type="identify", traits=traits),
            self._track(at, "Consent Changed", {"consents": {"email": True, "tracking": True}, "wording": wording}),
        ]

    def buys(self, at: datetime, order: str, product: Item) -> list[bytes]:
        """An order of one piece."""
        properties = self._order(order, product)
        return [self._track(at, "Order Completed", properties)]

    def returns(self, at: datetime, order: str, product: Item) -> list[bytes]:
        """The same order, taken back."""
        return [self._track(at, "Order Refunded", self._order(order, product))]

    def _order(self, order: str, product: Item) -> dict[str, Any]:
        line = {"product_id": product.id, "category": product.category, "price": product.cents / 100, "quantity": 1}
        return {
            "order_id": f"{self.run}-{order}",
            "total": product.cents / 100,
            "currency": "USD",
            "products": [line],
        }

    def _track(self, at: datetime, name: str, properties: dict[str, Any]) -> bytes:
        return self._call(at, type="track", event=name, properties=properties)

    def _call(self, at: datetime, **content: Any) -> bytes:
        message_id = f"{self.run}-{self.user_id}-{next(self._numbers)}"
        return _encode({"messageId": message_id, "userId": self.user_id, "timestamp": at} | content)


@dataclass(frozen=True)
class Item:
    """A product of a tale, as the feed tells it."""

    id: str
    title: str
    category: str
    cents: int

    def feed(self, stock: int = 25) -> str:
        """Its line in the feed."""
        return f"{self.id}\t{self.title}\t{self.category}\t{self.cents / 100:.2f} USD\tin_stock\t{stock}"


SHOES: Final = Item("tale-running-shoes", "Trail runner, blue", "Sports > Running shoes", 11900)
ATTIRE: Final = Item("tale-running-attire", "Running shirt, light", "Sports > Running attire", 3900)
GATE: Final = Item("tale-baby-gate", "Stair gate, 80 cm", "Home > Baby gates", 4500)
PUPPY_FOOD: Final = Item("tale-puppy-food", "Puppy food, 3 kg", "Pets > Puppy food", 1900)
DIAPERS: Final = Item("tale-diapers", "Diapers, size 3", "Baby > Diapers", 2200)
ITEMS: Final = (SHOES, ATTIRE, GATE, PUPPY_FOOD, DIAPERS)


def feed() -> bytes:
    """The feed of all of them."""
    rows = ["id\ttitle\tproduct_type\tprice\tavailability\tquantity", *(item.feed() for item in ITEMS)]
    return "\n".join(rows).encode()
