"""A published campaign and a mailed person, as an open meets them: real keys in a real Valkey, real tokens.

`Mail` plays the other writers (campaigns publish, signals keep the state) and the mail client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO

import msgspec
from PIL import Image

from base import keys
from base.ids import Delivery
from base.sealing import Sealer
from base.settings import Settings
from base.stores import Store
from base.tokens import WHOLE_MAIL, Purpose, Token, TokenKeys, second_number, unpack_size
from render import record
from render.agree import open_cap
from render.facts import Lane, Shown, Used, decode_shown, decode_used
from render.mailpage import printed_mark
from render.plan import Live, Plan, digest, encode, encode_live
from render.record import ClickRecord, ConsentRecord, DecisionRecord, FetchRecord, Record, RepairRecord
from signals.productfacts import ProductFacts
from signals.state import ProfileState
from signals.state import encode as encode_state
from tests.render.shoe_shop import SENT, product
from tests.render.shoe_shop import plan as shoe_plan
from tests.streams import entries

PROFILE = 4711
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Thunderbird/153.7.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
APPLE = "Mozilla/5.0"
GMAIL_PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
SCANNER = "python-requests/2.32"


@dataclass
class Mail:
    """One delivery of the running-shoes campaign."""

    store: Store
    settings: Settings
    plan: Plan = field(default_factory=shoe_plan)
    delivery: Delivery = field(default_factory=lambda: Delivery(PROFILE, 7, 1))
    published: Callable[[], None] = lambda: None
    """Called after every change of what opens hold for a second, so that a test need not wait for that second."""

    def __post_init__(self) -> None:
        self.tokens = TokenKeys.from_settings(self.settings)

    def publish(self, plan: Plan | None = None, **live: object) -> str:
        """Put the plan and its live key where opens look, with caps and the tights in stock."""
        self.plan = plan or self.plan
        data = encode(self.plan)
        self.store.set(keys.plan(digest(data)), data)
        self.go_live(digest(data), **live)
        self.stock(product())
        for offer in self.plan.offers:
            if offer.cap_total is not None:
                open_cap(self.store, offer.id, offer.cap_total)
        self.published()
        return digest(data)

    def go_live(self, plan_hash: str | None, **live: object) -> None:
        """Write the live key."""
        self.store.set(keys.live(self.plan.campaign), encode_live(msgspec.convert({"plan": plan_hash, **live}, Live)))
        self.published()

    def stock(self, facts: ProductFacts) -> None:
        """Write product facts."""
        self.store.set(keys.product(facts.id), msgspec.msgpack.encode(facts))
        self.published()

    def know(self, state: ProfileState, profile: int | None = None) -> None:
        """Write the person's state, as signals do."""
        self.store.set(keys.state(profile or self.delivery.profile), encode_state(state))

    def token(self, purpose: Purpose = Purpose.PICTURE, slot: int = 0, **changes: object) -> str:
        """The text of a token of this mail."""
        place = self.plan.slot_by_index.get(slot)
        fields: dict[str, object] = {
            "purpose": purpose,
            "profile": self.delivery.profile,
            "campaign": self.delivery.campaign,
            "occurrence": self.delivery.occurrence,
            "slot": WHOLE_MAIL if purpose in (Purpose.VIEW, Purpose.UNSUBSCRIBE) else slot,
            "width": place.width if place else 600,
            "height": place.height if place else 200,
            "fmt": place.fmt if place else "jpg",
            "sent_s": second_number(SENT),
        }
        return self.tokens.mint(Token(**(fields | changes)))  # type: ignore[arg-type]

    def url(self, slot: int = 0, *, dark: bool = False, **changes: object) -> str:
        """The path of a block's picture."""
        return f"/o/{self.token(Purpose.PICTURE_DARK if dark else Purpose.PICTURE, slot, **changes)}.jpg"

    def view(self, **traits: str) -> str:
        """The path of the web view of a mail that printed these fields."""
        width, height, fmt = unpack_size(printed_mark(self.plan.view_html, traits))
        return f"/view/{self.token(Purpose.VIEW, width=width, height=height, fmt=fmt)}"

    def click(self, slot: int = 0) -> str:
        """The path of a block's link."""
        return f"/c/{self.token(Purpose.CLICK, slot)}"

    def lane(self, name: str = "live") -> Lane:
        """The lane of this delivery's shown key."""
        data = self.store.get(keys.shown(self.delivery.profile, self.delivery.name))
        shown = decode_shown(data) if isinstance(data, bytes) else Shown()
        return shown.lane(name)  # type: ignore[arg-type]

    def used(self) -> Used:
        """What counts against the person."""
        data = self.store.get(keys.used(self.delivery.profile))
        return decode_used(data) if isinstance(data, bytes) else Used()

    def records(self) -> list[Record]:
        """All records that wait, in order."""
        sealer = Sealer(self.settings.record_key)
        waiting = entries(self.store)
        return [made for _, fields in waiting for made in record.unseal(fields[record.STREAM_FIELD.encode()], sealer)]

    def decisions(self) -> list[DecisionRecord]:
        return [made for made in self.records() if isinstance(made, DecisionRecord)]

    def fetches(self) -> list[FetchRecord]:
        return [made for made in self.records() if isinstance(made, FetchRecord)]

    def clicks(self) -> list[ClickRecord]:
        return [made for made in self.records() if isinstance(made, ClickRecord)]

    def consents(self) -> list[ConsentRecord]:
        return [made for made in self.records() if isinstance(made, ConsentRecord)]

    def repairs(self) -> list[RepairRecord]:
        return [made for made in self.records() if isinstance(made, RepairRecord)]


def size_of(body: bytes) -> tuple[int, int]:
    """The pixel size of a picture that decodes whole."""
    with Image.open(BytesIO(body)) as image:
        image.load()
        return image.size


def browser(headers: Mapping[str, str] | None = None, agent: str = BROWSER) -> dict[str, str]:
    """The headers of a mail client."""
    return {"User-Agent": agent, "Accept": "image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5", **(headers or {})}
