"""Orders net of their corrections: which call is a new order, and what of it stays after returns and gift marks.

A *placement* is an order as it counts. A repeated order id within the next sixteen placements is the same order,
and an update's however many came since:
`Order Updated` replaces what it holds, a second `Order Completed` is ignored. Corrections go to the first placement of
the order id they name; a cancellation is void where a later update says that the order is placed.
An update may be dated before the order it is of, by another clock: the order then begins with its `Order Completed`.
An order is kept in its own currency, in which what is given back is taken off it, and is worth what that was worth on
the order's day, whenever it was given back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec.structs import replace

from signals.currencies import PAR, exchanged, worth
from signals.foldevent import MAX_CENTS, NOT_OWN, STANDS, FoldEvent, Line
from signals.measures import exact, pieces
from signals.measures import worth as worth_of
from signals.state import MAX_ORDER_KEYS, MAX_UNMATCHED, ORDER_KEY

CORRECTING: Final = ("order refunded", "order cancelled", "order canceled", "order updated")
"""The names, in lower case, of calls that change what an order came to."""
OVERFLOW = b"*"
"""`unmatched` when more orders are waited for than it holds: any order then means folding again."""


class Left(NamedTuple):
    """What is left of an order after its corrections: nothing if `void`, else something of these `categories`, in
    rising order; None where they are those that the order told."""

    void: bool = False
    categories: tuple[int, ...] | None = None


AS_TOLD: Final = Left()
"""What is left where nothing of an order came back whole."""
NOTHING: Final = Left(void=True)
"""What is left of an order that never was, and what an `Order Updated` is of itself whose order another call began."""


class Placement:
    """An order as it counts: its lines net of returns, with gifts marked, and what was paid, unless `void`.

    `amount` and the prices of `lines` are hundredths of its own `currency`; `worth` tells an amount in the
    installation's, at the `rate` of the order's day. `told_by` is the arrival number of the call whose goods it has,
    `taken` are those of all whose contents it took, in their order. `paid` is what it came to before anything was given
    back (None: nobody told), `back` the money that was, and `share` the part of its goods that came back, or all of
    them where an update took them out, 0 to 1, with `returns` corrections: those that found some of them.
    """

    __slots__ = (
        "_is_emptied", "_is_paid_back", "_is_priced", "_kept", "_pieces", "_prices", "amount", "back", "currency",
        "lines", "paid", "rate", "returns", "share", "taken", "time_ms", "told_by", "void",
    )  # fmt: skip

    def __init__(self, event: FoldEvent) -> None:
        self.time_ms = event.time_ms
        self.void = False
        self.currency, self.rate = "", PAR
        self.back, self.returns, self.share = 0, 0, 0.0
        self.lines: list[Line] = []
        self._is_emptied = False
        self.told_by = event.arrival
        self.taken: list[int] = []
        self.replace(event)

    def worth(self, cents: int) -> int:
        """An amount of this order in the installation's currency; 0 where the order's has no rate."""
        return worth(cents, self.rate)

    def replace(self, event: FoldEvent) -> None:
        """Take the contents of an order call; a currency and goods that it does not tell stay those that were told."""
        self.taken.append(event.arrival)
        if event.currency and event.currency != self.currency:
            self.currency, self.rate = event.currency, event.rate
        if event.lines or event.emptied:
            self.lines, self.told_by = list(event.lines), event.arrival
            if self._is_emptied or event.emptied:
                self.share = 1.0 if event.emptied else 0.0
            self._is_emptied = event.emptied
        self.paid = paid(event)
        self.amount = self._kept = self.paid or 0
        prices = [worth_of(line) for line in self.lines if line.cents is not None]
        is_priced = len(prices) == len(self.lines)
        self._prices = sum(prices) if is_priced else 0
        self._pieces = sum([exact(line) for line in self.lines])
        self._is_priced = event.total_cents is not None or (is_priced and bool(prices))
        self._is_paid_back = False

    def complete(self, event: FoldEvent) -> None:
        """Be what this `Order Completed` tells of: an update began it, whose contents stay if it had any."""
        self.time_ms = event.time_ms
        if not self.lines:
            self.replace(event)

    def refund(self, event: FoldEvent) -> None:
        """Take off what a refund tells, which is in the order's currency where it tells none. What is paid back in
        another is exchanged; where that cannot be, the lines it names go by their prices, and money alone stays."""
        total = event.total_cents
        if total is not None and event.currency not in ("", self.currency):
            total = exchanged(total, event.rate, self.rate)
            if total is None and not event.lines:
                return
        self.take_back(event.lines, total)

    def take_back(self, returned: Sequence[Line], total_cents: int | None) -> None:
        """Remove returned lines and what was paid back for them, by their prices where that is not told; where neither
        is told the order as a whole, as a cancellation does. It never was once all of its lines came back, or all of
        its money; prices alone do not tell that, as there may have been a discount."""
        if self.void:
            self._pay_back(abs(total_cents or 0))
            return
        if not returned and total_cents is None:
            self.cancel()
            return
        before, pieces = self.lines, sum([exact(line) for line in self.lines])
        worth = sum([self._remove(line) for line in returned])
        money = worth if total_cents is None else abs(total_cents)
        self._kept -= money
        self._is_paid_back |= bool(total_cents)
        self.amount = max(0, self._kept)
        if bool(before and not self.lines) or self._is_all_paid_back():
            self._pay_back(money if total_cents is not None else self.paid or 0)
            # Money that completes what came back before is no return of its own.
            self._end(came=self.lines != before or not self.returns)
            return
        self._pay_back(money)
        # Money alone leaves the goods with the customer; which goods an order is of may not have been told.
        if self.lines != before:
            gone = pieces - sum([exact(line) for line in self.lines])
            self._come_back(worth / self._prices if self._prices else gone / self._pieces)
        elif returned and not (before or self._is_emptied):
            self._come_back(money / self.paid if self.paid else 0.0)

    def _pay_back(self, money: int) -> None:
        self.back += min(money, (self.paid or 0) - self.back)

    def _come_back(self, share: float) -> None:
        self.returns += 1
        self.share = min(1.0, self.share + share)

    def _is_all_paid_back(self) -> bool:
        """Whether all of the money came back; of an order whose money was not told nobody knows."""
        return self._is_priced and self._is_paid_back and self._kept <= 0

    def cancel(self) -> None:
        """The order never was: all that was left of it comes back."""
        if not self.void:
            self._pay_back(self.paid or 0)
            self._end(came=True)

    def _end(self, *, came: bool) -> None:
        self.lines, self.amount, self.void = [], 0, True
        self.share, self.returns = 1.0, self.returns + (came and not self._is_emptied)

    def mark(self, event: FoldEvent) -> None:
        """Mark lines as not for the person's own need: those of the product or category named, else all."""
        wanted = {line.product for line in event.lines if line.product}
        self.lines = [replace(line, gift=True) if _meant(line, event, wanted) else line for line in self.lines]

    def left(self, told: FoldEvent) -> Left:
        """What is left of the order that this call told. Gift marks change nothing: a gift was bought too."""
        if self.void:
            return NOTHING
        bought, kept = ({line.category for line in lines} - {0} for lines in (told.lines, self.lines))
        return AS_TOLD if bought == kept else Left(categories=tuple(sorted(told.categories - bought | kept)))

    def _remove(self, returned: Line) -> int:
        """Take away as much of a returned line as is there; what it cost, in cents."""
        left, worth = exact(returned), 0
        kept = []
        for own in self.lines:
            if left and _same(own, returned):
                had = exact(own)
                gone = min(left, had)
                left -= gone
                worth += worth_of(own)
                if gone == had:
                    continue
                quantity, millionths = pieces(had - gone)
                own = replace(own, quantity=quantity, millionths=millionths)
                # By what stays: parts that come back one by one cost together what they do at once.
                worth -= worth_of(own)
            kept.append(own)
        self.lines = kept
        return worth


class Resolution:
    """What a whole history of signals comes to: the placement of each order call, and the orders (`order_key`s) that
    corrections and updates were told of and no `Order Completed`."""

    __slots__ = ("placements", "unmatched")

    def __init__(self, placements: dict[int, Placement], unmatched: bytes) -> None:
        self.placements = placements
        self.unmatched = unmatched


def order_key(order_id: str) -> bytes:
    """Six bytes that stand for an order id."""
    return blake2b(order_id.encode("utf-8", "surrogatepass"), digest_size=ORDER_KEY).digest()


def knows_order(keys: bytes, key: bytes) -> bool:
    """Whether `key` is among packed keys."""
    at = keys.find(key)
    while at % ORDER_KEY and at >= 0:
        at = keys.find(key, at + 1)
    return at >= 0


def resolve(events: Sequence[FoldEvent]) -> Resolution:
    """Match orders, repeats and corrections over all events of a profile, given in canonical order.

    `placements` maps the index of each call that begins an order to its placement, with all corrections made: of an
    order that an update began, the index of its `Order Completed` once there is one.
    """
    placements: dict[int, Placement] = {}
    first: dict[str, Placement] = {}
    window: OrderedDict[str, Placement] = OrderedDict()
    begun: dict[str, int] = {}
    corrections = []
    stood: dict[str, int] = {}
    for index, event in enumerate(events):
        if event.word == STANDS and event.order_id:
            stood[event.order_id] = event.time_ms
        if event.kind == "order" and event.order_id in begun:
            placements[index] = placement = placements.pop(begun.pop(event.order_id))
            placement.complete(event)
            window.pop(event.order_id, None)
            _remember(window, first, event.order_id, placement)
        elif event.kind in ("order", "order_update"):
            known = window.get(event.order_id) if event.order_id else None
            if known is None and event.kind == "order_update":
                known = first.get(event.order_id)  # However many came since: who changes an order does not buy again.
            if known is None:
                placements[index] = placement = Placement(event)
                if event.order_id:
                    _remember(window, first, event.order_id, placement)
                    if event.kind == "order_update":
                        begun[event.order_id] = index
            elif event.kind == "order_update" and (event.lines or event.emptied or event.total_cents is not None):
                known.replace(event)
        elif event.kind in ("refund", "cancel") or (event.kind == "mark" and event.word in NOT_OWN):
            corrections.append(event)
    corrections = sorted((event for event in corrections if not _is_void(event, stood)), key=_turn)
    unmatched = {
        event.order_id for event in corrections if event.order_id and event.order_id not in first
    } | begun.keys()
    for event in corrections:
        _correct(event, first, placements)
    return Resolution(placements, _packed(unmatched))


def _is_void(event: FoldEvent, stood: dict[str, int]) -> bool:
    return event.kind == "cancel" and bool(event.order_id) and event.time_ms < stood.get(event.order_id, -1)


def _turn(event: FoldEvent) -> tuple[bool, bool]:
    """Which corrections come first, so that the sequence of refunds does not matter for what is left of an order: those
    that name what comes back by product, then by category alone, and of either those that go by prices. How many
    returns there were goes by their sequence all the same, the canonical one: what is told of an order of which nothing
    is left brings nothing back."""
    if event.kind != "refund":
        return False, False
    return any(not line.product for line in event.lines), event.total_cents is not None


def _remember(
    window: OrderedDict[str, Placement], first: dict[str, Placement], order_id: str, placement: Placement
) -> None:
    window[order_id] = placement
    first.setdefault(order_id, placement)
    if len(window) > MAX_ORDER_KEYS:
        window.popitem(last=False)


def _correct(event: FoldEvent, first: dict[str, Placement], placements: dict[int, Placement]) -> None:
    if event.kind == "mark":
        if not (event.order_id or event.lines or event.category):
            return
        targets = [placement for placement in placements.values() if placement.time_ms <= event.time_ms]
        if event.order_id:
            targets = [first[event.order_id]] if event.order_id in first else []
        for placement in targets:
            placement.mark(event)
    elif (order := first.get(event.order_id)) is not None:
        if event.kind == "cancel":
            order.cancel()
        else:
            order.refund(event)


def _packed(order_ids: set[str]) -> bytes:
    return OVERFLOW if len(order_ids) > MAX_UNMATCHED else b"".join(sorted(map(order_key, order_ids)))


def paid(event: FoldEvent) -> int | None:
    """What an order came to, in hundredths of its currency: its total, else its lines by their prices; None where it
    tells neither."""
    if event.total_cents is not None:
        return max(0, event.total_cents)
    priced = [worth_of(line) for line in event.lines if line.cents is not None]
    return min(sum(priced), MAX_CENTS) if priced else None


def _same(own: Line, other: Line) -> bool:
    return own.product == other.product if other.product else own.category == other.category


def _meant(line: Line, event: FoldEvent, products: set[str]) -> bool:
    if products:
        return line.product in products
    return not event.category or line.category == event.category
