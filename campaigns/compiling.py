"""What publishing makes of a campaign: its plan and mail, and what opens are told of it. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import UNSET, convert
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import arms, creatives, lasting, mail, messages, offers, pools, rulebook
from campaigns.mail import CompiledMail
from campaigns.models.campaign import Campaign
from campaigns.models.catalogue import Message, Offer
from campaigns.texts import CompiledText, TextIn, compile_text
from render import plan as render_plan
from render.arbitration import Arbitration, Policy
from render.creative import Creative, countdown_of
from render.faults import validate
from render.pick import Pick
from signals.catalog import Category
from signals.moments import unix_ms
from signals.products import Product


def compile_campaign(session: Session, row: Campaign) -> tuple[render_plan.Plan, CompiledMail]:
    """The plan and the mail of a campaign as it is written now. Raises InvalidInput naming what keeps it from going."""
    if row.message_id is None:
        raise InvalidInput("message_id", "is missing: a campaign needs a message")
    if not row.default_landing:
        raise InvalidInput("default_landing", "is missing: clicks that cannot be resolved go there")
    message = messages.message(session, row.message_id)
    compiled = mail.compile_mail(messages.content(message), row.id, row.brand, with_amp=row.amp)
    if row.gateway_id is not None:
        compiled = replace(compiled, message=_text(row, row.gateway_id, compiled))
    shown = offers_of(session, row)
    known = rulebook.categories(session)
    pools_of = {offer.id: pools.compiled(session, offer) for offer in shown if offer.pick is not None}
    named = sorted(
        {slug for offer in shown for slug in _slugs(offer)} | {*_named(row.suppress), *_named(row.arbitration)}
    )
    designs = {
        number: creatives.compiled(creatives.creative(session, number))
        for number in sorted({offer.creative_id for offer in shown} | swapped(row.arms))
    }
    plan = render_plan.Plan(
        campaign=row.id,
        name=row.name,
        slots=tuple(_slots(row, message)),
        offers=tuple(
            _timed(_versioned(session, offer, known, pools_of.get(offer.id), designs), designs) for offer in shown
        ),
        creatives=tuple(designs.values()),
        default_landing=row.default_landing,
        channel=row.channel,
        locale=row.locale,
        currency=row.currency,
        brand=row.brand,
        hold_s=row.hold_s,
        lifetime_days=row.lifetime_days,
        feed_stale_s=row.feed_stale_s,
        categories={slug: known[slug] for slug in named if slug in known},
        category_names=_names(session, named),
        sensitive=rulebook.sensitive(session),
        needs_consent=tuple(row.needs_consent),
        undecided_capped=row.undecided_capped,
        landing_hosts=_hosts(row, shown, pools_of.values()),
        amp_senders=(message.from_address.lower(),) if row.amp else UNSET,
        tracking=UNSET if row.tracking == "identified" else convert(row.tracking, Literal["none", "anonymous"]),
        suppress=UNSET if row.suppress is None else row.suppress,
        guarded=UNSET if row.guard == "off" else True,
        arbitration=UNSET if row.arbitration is None else convert(row.arbitration, Arbitration),
        split=arms.split(row.arms_key, row.arms) or UNSET,
        # The page names its mail, so that a plan's hash stands for the mail too.
        view_html=f"{mail.view_template(compiled)}<!-- {render_plan.digest(mail.encode(compiled))} -->",
    )
    faults = validate(plan)
    if faults:
        field, _, text = faults[0].partition(": ")
        raise InvalidInput(field, "; ".join((text, *faults[1:])))
    for field, text in lasting.faults(plan, compiled.html, _titles(session, plan.product_ids)):
        raise InvalidInput(field, text)
    for offer in shown:
        for layer in render_plan.LAYERS:
            if getattr(offer, layer) is not None:
                rulebook.check(session, getattr(offer, layer), "eligibility", f"offers[{offer.id}].{layer}")
    return plan, compiled


def _text(row: Campaign, gateway: int, compiled: CompiledMail) -> CompiledText:
    """What the campaign's gateway gets."""
    if row.text is None:
        raise InvalidInput("text", "is missing: a campaign of a gateway needs one")
    places = {slot.name: slot.index for slot in compiled.slots}
    return compile_text(convert(row.text, TextIn), row.channel, gateway, row.locale, places)


def _versioned(
    session: Session, row: Offer, known: Mapping[str, int], pick: Pick | None, designs: Mapping[int, Creative]
) -> render_plan.Offer:
    """The offer with the versions of its product's line where it tells of them; of a picked one the pool has them."""
    told = pools.versions(session, row, designs[row.creative_id])
    return replace(offers.compiled(row, known, pick), versions=told)


def _timed(offer: render_plan.Offer, designs: Mapping[int, Creative]) -> render_plan.Offer:
    """An offer whose design counts down is bound to the clock, whether or not its manager thought of that."""
    return replace(offer, clock_bound=True) if countdown_of(designs[offer.creative].layers) is not None else offer


def live(row: Campaign, learnt: str | None) -> render_plan.Live:
    """What the open is told of a campaign; `learnt` names the relations that are current."""
    return render_plan.Live(
        plan=row.plan_hash,
        state="killed" if row.killed else "live",
        withdrawn=tuple(row.withdrawn),
        model=row.model_hash,
        brand=row.brand,
        picture=row.kill_picture,
        canary=render_plan.Canary(row.canary_hash, row.canary_share or 0.0) if row.canary_hash else None,
        relations=learnt,
        then=_then(row),
    )


def _then(row: Campaign) -> render_plan.Then | None:
    if row.next_plan_hash is None or row.next_plan_at is None:
        return None
    return render_plan.Then(row.next_plan_hash, unix_ms(row.next_plan_at))


def swapped(arms: Iterable[Mapping[str, Any]]) -> set[int]:
    """The creatives that only some arm shows."""
    return {swap["creative"] for arm in arms for swap in arm["creatives"]}


def offers_of(session: Session, row: Campaign) -> list[Offer]:
    """The offers a campaign may show, in the order in which its slots name them."""
    return [offers.offer(session, number) for number in offer_ids(row)]


def offer_ids(row: Campaign) -> dict[int, None]:
    wanted: dict[int, None] = {}
    for choice in row.slots:
        wanted |= dict.fromkeys([*choice["offers"], choice["default"]])
    return wanted


def _slots(row: Campaign, message: Message) -> Iterator[render_plan.Slot]:
    chosen = {choice["slot"]: choice for choice in row.slots}
    for place in message.slots:
        choice = chosen.get(place["index"])
        if choice is None:
            raise InvalidInput(
                "slots", f"do not say what the slot {place['name']} shows; each needs at least a default"
            )
        yield render_plan.Slot(
            index=place["index"],
            name=place["name"],
            width=place["width"],
            height=place["height"],
            alt=place["alt"],
            fmt=place["fmt"],
            # What counts down must be able to move there too.
            web_fmt="gif" if place["fmt"] == "gif" else "webp",
            max_bytes=place["max_bytes"],
            offers=tuple(choice["offers"]),
            default=choice["default"],
            mode=choice["mode"],
            policy=convert(choice["policy"], Policy) if choice.get("policy") else UNSET,
        )


def _slugs(offer: Offer) -> Iterator[str]:
    """The categories an offer names: in its own fields and in its rules."""
    yield from filter(None, (offer.category, offer.purpose_category, offer.after_category))
    for rule in (offer.legal, offer.relevant, offer.beneficial):
        yield from _named(rule)


def _named(rule: Any) -> Iterator[str]:
    """The categories that a rule names."""
    pending = [rule]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("category"), str):
                yield node["category"]
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _titles(session: Session, ids: Sequence[str]) -> dict[str, str]:
    rows = session.execute(select(Product.id, Product.title).where(Product.id.in_(ids)))
    return {row.id: row.title for row in rows}


def _names(session: Session, slugs: list[str]) -> dict[str, str]:
    rows = session.execute(select(Category.slug, Category.name).where(Category.slug.in_(slugs)).order_by(Category.slug))
    return {row.slug: row.name for row in rows}


def _hosts(row: Campaign, shown: list[Offer], picks: Iterable[Pick]) -> tuple[str, ...]:
    """Where a click may lead: the hosts of the addresses that managers wrote, those of the pages of products that may
    be picked, and those the campaign names."""
    links = (entry.link for pick in picks for entry in pick.pool)
    addresses = (row.default_landing, *(offer.landing for offer in shown), *links)
    hosts = {urlsplit(address).hostname for address in addresses}
    return tuple(sorted({host for host in hosts if host} | set(row.landing_hosts)))
