"""Offers: what may be shown, to whom, when, how often, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.clock import check_year
from base.errors import Conflict, InvalidInput, NotFound
from campaigns import admin_log, pools, ranking, rulebook, weblinks
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign
from campaigns.models.catalogue import Creative, Offer
from campaigns.pools import PickIn
from campaigns.ranking import FatigueIn
from render import plan as plans
from render.arbitration import MAX_WEIGHT, Fatigue, fatigue_faults
from render.incentive import INCENTIVES, Incentive
from render.pick import Pick
from render.relations import MAX_UNITS
from render.validity import check_text
from signals.catalog import Category
from signals.contents import PURPOSES
from signals.moments import unix_ms
from signals.products import Product

MAX_MONEY: Final = 2**31 - 1
MAX_FIELDS: Final = 32
LOWER_PRICES: Final = {"percent": (1, 100), "amount_off_cents": (1, MAX_MONEY), "price_cents": (0, MAX_MONEY)}
"""What of an offer's fields lowers its price, of which it has one at most, and from where to where it goes."""
Name = Annotated[str, Meta(max_length=120)]
Cents = Annotated[int, Meta(ge=0, le=MAX_MONEY)]
Count = Annotated[int, Meta(ge=1, le=MAX_MONEY)]
Days = Annotated[int, Meta(ge=1, le=3650)]
Moment = Annotated[datetime, Meta(tz=True)]


class OfferIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An offer as it is written. Categories are slugs, money is cents; see render.plan.Offer for what each means.

    legal, relevant, beneficial: rules of the JSON language, None asks nothing. fields: texts for the creative, read
    there as `offer.<name>`; they may name fields of the product, the person and the brand. A lower price is one of
    the whole numbers `percent` (off, 1 to 100), `amount_off_cents` and `price_cents` (in the product's currency).

    pick: how its product is picked when the mail is opened, in place of `product`; it is in stock then, whatever
    `needs_stock` says. when_due (of a replacement): not before its category is bought again. window_hours (of an
    upsell): for so long after the purchase it adds to. units (of a volume offer): so many of its product at once.
    incentive: to whom its lower price is given; without it, to everybody.
    """

    name: Name
    kind: plans.Kind
    creative_id: Count
    landing: Annotated[str, Meta(max_length=2000)]
    category: str | None = None
    product: str | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    mandatory: bool = False
    value_cents: Cents = 0
    cost_cents: Cents = 0
    legal: dict[str, Any] | None = None
    relevant: dict[str, Any] | None = None
    beneficial: dict[str, Any] | None = None
    cap_total: Count | None = None
    cap_person: Count | None = None
    period_days: Days | None = None
    no_repeat_days: Days | None = None
    sticky: bool = True
    group_name: Name | None = None
    purpose_category: str | None = None
    after_category: str | None = None
    fields: dict[str, str | int] = {}
    needs_stock: bool = False
    clock_bound: bool = False
    shows_price: bool = False
    requires_consent: list[str] = []
    incentive_cents: Cents = 0
    aftercare_cents: Cents = 0
    lever: Annotated[float, Meta(ge=0, le=MAX_WEIGHT)] = 1.0
    prior: Annotated[float, Meta(ge=0, le=1)] | None = None
    prior_weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    fatigue: list[FatigueIn] = []
    pick: PickIn | None = None
    when_due: bool = False
    window_hours: Annotated[int, Meta(ge=1, le=8760)] | None = None
    units: Annotated[int, Meta(ge=2, le=MAX_UNITS)] | None = None
    incentive: Incentive | None = None


def create_offer(session: Session, content: OfferIn, now: datetime, by: Actor) -> Offer:
    """Keep a new offer. Raises InvalidInput naming the field, Conflict when the name is taken."""
    _check(session, content, None)
    row = Offer(created_at=now, updated_at=now, **_columns(content))
    session.add(row)
    session.flush()
    admin_log.record(session, by, "create", "offer", row.id, now, after=admin_log.snapshot(row))
    return row


def update_offer(session: Session, offer_id: int, content: OfferIn, now: datetime, by: Actor) -> Offer:
    """Replace an offer's content. Published plans keep the old one until they are published again."""
    row = offer(session, offer_id)
    before = admin_log.snapshot(row)
    _check(session, content, offer_id)
    for name, value in _columns(content).items():
        setattr(row, name, value)
    row.updated_at = now
    session.flush()
    admin_log.record(session, by, "change", "offer", row.id, now, before=before, after=admin_log.snapshot(row))
    return row


def archive_offer(session: Session, offer_id: int, now: datetime, by: Actor) -> None:
    """Take an offer out of the lists. Raises Conflict while a campaign that is not over shows it."""
    row = offer(session, offer_id)
    for name, slots in session.execute(
        select(Campaign.name, Campaign.slots).where(Campaign.state.not_in(("finished", "cancelled")))
    ):
        if any(offer_id in (*slot["offers"], slot["default"]) for slot in slots):
            raise Conflict(f"The campaign {name} still shows this offer.")
    row.archived_at = row.archived_at or now
    admin_log.record(session, by, "archive", "offer", row.id, now)


def offer(session: Session, offer_id: int) -> Offer:
    """One offer. Raises NotFound."""
    row = session.get(Offer, offer_id)
    if row is None:
        raise NotFound("offer", offer_id)
    return row


def offers(session: Session, *, archived: bool = False) -> list[Offer]:
    """All offers by name; the archived ones only when asked for."""
    query = select(Offer).order_by(Offer.name)
    if not archived:
        query = query.where(Offer.archived_at.is_(None))
    return list(session.scalars(query))


def further_products(fields: Mapping[str, str | int]) -> tuple[str, ...]:
    """The products shown beside the first: ids in the text `products`, parted by commas."""
    names = (name.strip() for name in str(fields.get("products", "")).split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def content(row: Offer) -> OfferIn:
    """A stored offer as it could be written again."""
    stored = {name: getattr(row, name) for name in OfferIn.__struct_fields__}
    return msgspec.convert(stored | {"fatigue": ranking.known(row.fatigue, list[Fatigue])}, OfferIn)


def compiled(row: Offer, categories: Mapping[str, int], pick: Pick | None = None) -> plans.Offer:
    """The offer as a plan holds it; `categories` resolves every slug, `pick` is how its product is picked.

    Raises InvalidInput for a category that is gone.
    """

    def resolved(field: str, slug: str | None) -> int | None:
        if slug is not None and slug not in categories:
            raise InvalidInput(f"offers[{row.id}].{field}", f"names the category {slug}, which there is not")
        return None if slug is None else categories[slug]

    return plans.Offer(
        id=row.id,
        name=row.name,
        kind=msgspec.convert(row.kind, plans.Kind),
        creative=row.creative_id,
        landing=row.landing,
        category=resolved("category", row.category),
        product=row.product,
        starts_ms=None if row.starts_at is None else unix_ms(row.starts_at),
        ends_ms=None if row.ends_at is None else unix_ms(row.ends_at),
        priority=row.priority,
        mandatory=row.mandatory,
        value_cents=row.value_cents,
        cost_cents=row.cost_cents,
        rules=plans.LayeredRules(row.legal, row.relevant, row.beneficial),
        cap_total=row.cap_total,
        cap_person=row.cap_person,
        period_days=row.period_days,
        no_repeat_days=row.no_repeat_days,
        sticky=row.sticky,
        group=row.group_name,
        purpose_category=resolved("purpose_category", row.purpose_category),
        after_category=resolved("after_category", row.after_category),
        fields={name: value for name, value in sorted(row.fields.items()) if name != "products"},
        products=further_products(row.fields),
        pick=pick,
        when_due=row.when_due,
        window_hours=row.window_hours,
        units=row.units,
        incentive=None if row.incentive is None else msgspec.convert(row.incentive, Incentive),
        needs_stock=row.needs_stock or pick is not None,
        clock_bound=row.clock_bound,
        shows_price=row.shows_price,
        requires_consent=tuple(row.requires_consent),
        incentive_cents=row.incentive_cents,
        aftercare_cents=row.aftercare_cents,
        lever=row.lever,
        prior=row.prior,
        prior_weight=row.prior_weight,
        fatigue=msgspec.convert(row.fatigue, tuple[Fatigue, ...]),
    )


def is_default(row: Offer) -> bool:
    """Whether an offer can stand where nothing else may: neutral, unconditional, always true."""
    conditions = (
        row.legal, row.relevant, row.beneficial, row.cap_total, row.cap_person, row.no_repeat_days, row.starts_at,
        row.ends_at, row.product, row.purpose_category, row.after_category, row.fatigue or None,
        row.pick, row.window_hours, row.units, row.incentive,
    )  # fmt: skip
    switches = (row.needs_stock, row.clock_bound, row.shows_price, row.when_due, *row.requires_consent)
    return row.kind == "neutral" and all(value is None for value in conditions) and not any(switches)


def _columns(content: OfferIn) -> dict[str, Any]:
    columns = {name: getattr(content, name) for name in OfferIn.__struct_fields__}
    plain = {name: msgspec.to_builtins(getattr(content, name)) for name in ("fatigue", "pick", "incentive")}
    return columns | plain | {"name": content.name.strip()}


def _check(session: Session, content: OfferIn, offer_id: int | None) -> None:
    if not content.name.strip():
        raise InvalidInput("name", "must not be empty")
    taken = session.scalar(select(Offer.id).where(Offer.name == content.name.strip()))
    if taken is not None and taken != offer_id:
        raise Conflict("Another offer has this name.")
    if session.get(Creative, content.creative_id) is None:
        raise InvalidInput("creative_id", f"names the creative {content.creative_id}, which there is not")
    weblinks.host(content.landing, "landing")
    for field, moment in (("starts_at", content.starts_at), ("ends_at", content.ends_at)):
        if moment is not None:
            check_year(moment, field)
    if content.starts_at and content.ends_at and content.starts_at >= content.ends_at:
        raise InvalidInput("ends_at", "must be after starts_at")
    if content.period_days is not None and content.cap_person is None:
        raise InvalidInput("period_days", "needs a cap_person to go with")
    if content.period_days is not None and (content.cap_person or 0) > plans.MAX_PERIOD_SHOWS:
        raise InvalidInput("cap_person", f"may be at most {plans.MAX_PERIOD_SHOWS} within a period")
    for field, message in fatigue_faults("fatigue", tuple(content.fatigue), content.group_name):
        raise InvalidInput(field, message)
    if content.pick is not None:
        if content.product is not None or "products" in content.fields:
            raise InvalidInput("pick", "stands beside a product of its own; the product is either named or picked")
        pools.check(session, content.pick)
    if (content.needs_stock or content.shows_price) and content.product is None and content.pick is None:
        raise InvalidInput("product", "must be named when the offer depends on its stock or price")
    if content.product is not None and session.get(Product, content.product) is None:
        raise InvalidInput("product", "names a product that the feed does not have")
    further = further_products(content.fields)
    if len(further) > plans.MAX_PRODUCTS:
        raise InvalidInput("products", f"may name at most {plans.MAX_PRODUCTS} further products")
    for name in further:
        if session.get(Product, name) is None:
            raise InvalidInput("products", f"names the product {name!r}, which the feed does not have")
    _check_occasion(content)
    _check_lower_price(content)
    _check_incentive(content)
    for purpose in content.requires_consent:
        if purpose not in PURPOSES:
            raise InvalidInput("requires_consent", f"must be of {', '.join(PURPOSES)}")
    if len(content.fields) > MAX_FIELDS or any(len(str(value)) > 500 for value in content.fields.values()):
        raise InvalidInput("fields", f"may be {MAX_FIELDS} texts of at most 500 characters")
    check_texts(content.fields)
    _check_categories(session, content)
    for layer in plans.LAYERS:
        rule = getattr(content, layer)
        if rule is not None:
            rulebook.check(session, rule, "eligibility", field=layer)


def check_texts(texts: Mapping[str, str | int]) -> None:
    """Refuse texts that name what cannot be bound into them. Raises InvalidInput for `fields.<name>`."""
    for name, text in texts.items():
        if isinstance(text, str):
            check_text(f"fields.{name}", text)


def _check_occasion(content: OfferIn) -> None:
    """Raises InvalidInput where an occasion does not go with the kind, or nothing says of what."""
    is_set = {
        "when_due": ("replacement", content.when_due),
        "window_hours": ("upsell", content.window_hours is not None),
        "units": ("volume", content.units is not None),
    }
    for field, (kind, given) in is_set.items():
        if given and content.kind != kind:
            raise InvalidInput(field, f"is for offers of kind {kind}")
        if given and content.category is None and content.product is None and content.pick is None:
            raise InvalidInput("category", "must be named where the offer waits for purchases of it")
    if content.units is not None and content.product is None and content.pick is None:
        raise InvalidInput("product", "must be named where the offer is for several of it")


def _check_lower_price(content: OfferIn) -> None:
    """Raises InvalidInput for what lowers the price where it is no whole number in its bounds, or a second one."""
    named = [name for name in INCENTIVES if name in content.fields]
    for name in named:
        value, (least, most) = content.fields[name], LOWER_PRICES[name]
        if not isinstance(value, int) or not least <= value <= most:
            raise InvalidInput(f"fields.{name}", f"must be a whole number from {least} to {most}")
    if len(named) > 1:
        raise InvalidInput(f"fields.{named[1]}", f"stands beside {named[0]}: name one way to a lower price")


def _check_incentive(content: OfferIn) -> None:
    if content.incentive is None:
        return
    if not content.incentive_cents and not any(name in content.fields for name in INCENTIVES):
        raise InvalidInput("incentive", f"is given to some only, yet there is none: name {', '.join(INCENTIVES)}")
    if content.incentive.flagged and content.product is None and content.pick is None:
        raise InvalidInput("product", "must be named where the incentive is for flagged products only")


def _check_categories(session: Session, content: OfferIn) -> None:
    for field in ("category", "purpose_category", "after_category"):
        slug = getattr(content, field)
        found = None if slug is None else session.scalar(select(Category).where(Category.slug == slug))
        if slug is not None and found is None:
            raise InvalidInput(field, f"names the category {slug}, which there is not")
        if field == "after_category" and found is not None and found.sensitive:
            raise InvalidInput(field, "is a sensitive category: its purchases may not select what is shown")
