"""Offers: a gallery of their pictures, and an editor with the picture redrawn as you type."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput
from campaigns import creatives, editions, offers, pools, products, ranking, ruleform, starting
from campaigns.access import allow
from campaigns.models import Offer
from campaigns.offers import OfferIn
from campaigns.parts import parts
from campaigns.pictures import Sketch, offer_picture, sketch_picture
from campaigns.pools import PickIn
from campaigns.views import forms
from campaigns.views.acting import actor
from render.arbitration import Fatigue
from render.explanation import LAYER_WORDS
from render.incentive import INCENTIVES
from render.plan import KINDS, LAYERS, Kind
from signals import exchange
from signals.catalog import slug
from signals.products import Product
from signals.rulewords import EVERYBODY

pages = Blueprint("offers", __name__, url_prefix="/offers")
TEXTS = (
    ("headline", "Headline"),
    ("body", "Text"),
    ("badge", "Badge"),
    ("button", "Button"),
    ("eyebrow", "Line above the headline"),
    ("coupon", "Coupon code"),
    ("products", "Further products, by id, with commas"),
)
MONEY = ("value_cents", "cost_cents", "incentive_cents", "aftercare_cents")
RESTS = (("ignored", "shown and ignored"), ("shown", "shown"), ("taken", "clicked"), ("refused", "refused"))
TICKS = ("sticky", "mandatory", "needs_stock", "shows_price", "clock_bound", "when_due")
PICKS = (
    ("complement", "what goes with the cart or a purchase"),
    ("also-bought", "what others also bought"),
    ("popular", "what most people bought"),
    ("upgrade", "the next better version of what is owned"),
)
POOL = ("products", "categories", "lines")
LOWERED = (
    ("percent", "less, in per cent"),
    ("amount_off_cents", "less, as money"),
    ("price_cents", "a price of its own"),
)
MAX_PRODUCTS = 500


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """All offers as pictures, by name; a search narrows them."""
    query = request.args.get("q", "").strip().lower()
    with parts().transaction() as session:
        rows = [row for row in offers.offers(session) if query in row.name.lower()]
        return render_template(
            "offers/index.html", offers=rows, query=query, categories=products.category_names(session)
        )


@pages.get("/new")
@allow("manager")
def new() -> ResponseReturnValue:
    """The editor, empty."""
    with parts().transaction() as session:
        first = {"kind": "replacement", "sticky": "on"}
        return _form(session, None, first, None)


@pages.get("/<int:offer_id>")
@allow("manager")
def edit(offer_id: int) -> ResponseReturnValue:
    """The editor of one offer."""
    with parts().transaction() as session:
        row = offers.offer(session, offer_id)
        return _form(session, row, _values(session, row), None)


@pages.post("/new")
@allow("manager")
def create() -> ResponseReturnValue:
    """Keep a new offer."""
    return _save(None)


@pages.post("/<int:offer_id>")
@allow("manager")
def save(offer_id: int) -> ResponseReturnValue:
    """Keep the changes. Campaigns that are published keep showing the old version until they are published again."""
    return _save(offer_id)


@pages.post("/<int:offer_id>/archive")
@allow("manager")
def archive(offer_id: int) -> ResponseReturnValue:
    """Take an offer out of the lists."""
    with parts().transaction() as session:
        offers.archive_offer(session, offer_id, parts().now(), actor())
    flash("The offer is archived.")
    return redirect(url_for("offers.index"))


@pages.get("/<int:offer_id>/picture.jpg")
@allow("manager")
def picture(offer_id: int) -> ResponseReturnValue:
    """The offer as it is saved, drawn."""
    with parts().transaction() as session:
        row = offers.offer(session, offer_id)
        body = offer_picture(session, parts().blobs, row, parts().now())
    return Response(body, content_type="image/jpeg")


@pages.post("/preview")
@allow("manager")
def preview() -> ResponseReturnValue:
    """The picture of what is in the form now, as part of a page."""
    form = request.form
    with parts().transaction() as session:
        try:
            sketch = Sketch(
                creative_id=_design(session, form),
                kind=cast("Kind", forms.text(form, "kind")),
                product=forms.optional(form, "product"),
                category=forms.optional(form, "category"),
                fields={**_texts(form), **_lower(session, form)},
                units=forms.whole(form, "units"),
                ends_at=forms.moment(form, "ends_at", "UTC"),
            )
            body = sketch_picture(session, parts().blobs, sketch, parts().now())
        except InvalidInput as error:
            return render_template("offers/preview.html", fault=str(error)), 200
    return render_template("offers/preview.html", picture=base64.b64encode(body).decode())


def _save(offer_id: int | None) -> ResponseReturnValue:
    now = parts().now()
    try:
        with parts().transaction() as session:
            old = offers.offer(session, offer_id) if offer_id is not None else None
            if old is not None:
                editions.check(session, old, "offer", partial(_edition, session, old))
            content = _content(session, request.form, old)
            if offer_id is None:
                row = offers.create_offer(session, content, now, actor())
            else:
                row = offers.update_offer(session, offer_id, content, now, actor())
            number = row.id
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            old = offers.offer(session, offer_id) if offer_id is not None else None
            return _form(session, old, request.form, error), 400
    again = "Publish a campaign again to show the change in it."
    flash(f"Saved. {'Choose it in a campaign to have it shown.' if offer_id is None else again}")
    return redirect(url_for("offers.edit", offer_id=number))


def _form(session: Session, row: Offer | None, values: Mapping[str, Any], fault: InvalidInput | Conflict | None) -> str:
    at = getattr(fault, "field", "name" if fault else "").removeprefix("fields.")
    rule = EVERYBODY if row is None or row.relevant is None else row.relevant
    is_typed = "condition-0" in values
    choices = ruleform.choices(session)
    told = {layer: asked for layer in LAYERS if row is not None and (asked := getattr(row, layer)) is not None}
    return render_template(
        "offers/edit.html",
        offer=row,
        edition=_edition(session, row) if row is not None else "",
        values=values,
        fault=fault,
        field="lower" if at in INCENTIVES else at,
        kinds=KINDS,
        texts=TEXTS,
        rests=RESTS,
        picks=PICKS,
        lowered=LOWERED,
        creatives=creatives.creatives(session),
        currency=exchange.usual(session),
        rows=ruleform.typed(values) if is_typed else ruleform.rows(rule, "eligibility"),
        join=values.get("join") if is_typed else ruleform.joined(rule),
        rules={layer: choices["in_words"](asked) for layer, asked in told.items()},
        layer_words=LAYER_WORDS,
        **choices,
        products=session.scalars(
            select(Product).where(Product.gone_at.is_(None)).order_by(Product.title).limit(MAX_PRODUCTS)
        ).all(),
    )


def _edition(session: Session, row: Offer) -> str:
    return editions.of(_values(session, row), row.archived_at)


def _values(session: Session, row: Offer) -> dict[str, Any]:
    """A stored offer as the form's fields."""
    values: dict[str, Any] = {name: getattr(row, name) for name in OfferIn.__struct_fields__}
    values |= {name: row.fields.get(name, "") for name, _ in TEXTS}
    values |= {name: forms.amount(getattr(row, name)) for name in MONEY}
    if how := next((name for name in INCENTIVES if name in row.fields), None):
        lower, currency = row.fields[how], "" if how == "percent" else _currency(session, row.product, row.pick)
        is_money = how != "percent" and isinstance(lower, int)
        values |= {"lower_how": how, "lower": forms.amount(lower, currency) if is_money else str(lower)}
    values |= {"lever": f"{row.lever:g}", "prior": "" if row.prior is None else f"{100 * row.prior:g}"}
    if len(row.fatigue) == 1:
        values |= {f"rest_{name}": value for name, value in row.fatigue[0].items()}
    for name in ("starts_at", "ends_at"):
        at = getattr(row, name)
        values[name] = at.strftime("%Y-%m-%dT%H:%M") if at else ""
    if row.pick is not None:
        values |= {f"pick_{name}": ", ".join(row.pick.get(name, [])) for name in POOL}
        values |= {"pick_how": row.pick["how"], "pick_days": row.pick.get("within_days", "")}
    if row.incentive is not None:
        limit = row.incentive.get("limit")
        values |= {"incentive_flagged": row.incentive.get("flagged") or None}
        values |= {"incentive_limit": "" if limit is None else f"{100 * limit:g}"}
    for name in TICKS:
        values[name] = "on" if getattr(row, name) else None
    return values


def _design(session: Session, form: Mapping[str, str]) -> int:
    """The design that is chosen, or the one that suits the kind of offer."""
    chosen = forms.whole(form, "creative_id") or starting.usual_design(session, forms.text(form, "kind"))
    if chosen is None:
        raise InvalidInput("creative_id", "choose how it looks")
    return chosen


def _content(session: Session, form: Mapping[str, str], old: Offer | None) -> OfferIn:
    """The form as an offer. Rules and consent that the form does not show stay as they were."""
    kept: dict[str, Any] = {}
    if old is not None:
        kept = {name: getattr(old, name) for name in ("legal", "beneficial", "requires_consent", "group_name")}
    content = {
        **kept,
        "relevant": _relevant(session, form, None if old is None else old.relevant),
        "name": forms.text(form, "name"),
        "kind": forms.text(form, "kind"),
        "creative_id": _design(session, form),
        "landing": forms.text(form, "landing"),
        "category": forms.optional(form, "category"),
        "product": forms.optional(form, "product"),
        "starts_at": forms.moment(form, "starts_at", "UTC"),
        "ends_at": forms.moment(form, "ends_at", "UTC"),
        "priority": forms.whole(form, "priority") or 0,
        "lever": _lever(form),
        "prior": forms.share(form, "prior") if forms.text(form, "prior") else None,
        "prior_weight": old.prior_weight if old is not None else 200,
        "fatigue": ranking.known(old.fatigue, list[Fatigue]) if old and len(old.fatigue) > 1 else _rest(form),
        "purpose_category": forms.optional(form, "purpose_category"),
        "after_category": forms.optional(form, "after_category"),
        "pick": _pick(form),
        "incentive": _incentive(form),
        "fields": _fields(session, form, old),
    }
    for name in ("cap_total", "cap_person", "period_days", "no_repeat_days", "window_hours", "units"):
        content[name] = forms.whole(form, name)
    for name in MONEY:
        content[name] = forms.cents(form, name)
    for name in TICKS:
        content[name] = forms.on(form, name)
    return forms.content(content, OfferIn)


def _relevant(session: Session, form: Mapping[str, str], kept: dict[str, Any] | None) -> dict[str, Any] | None:
    """To whom it may be shown, as the rows say; what they cannot say, or do not change, stays as it was written."""
    if "condition-0" not in form:
        return kept
    rule = ruleform.checked(session, form, "eligibility", kept)
    return None if rule == EVERYBODY and rule != kept else rule


def _fields(session: Session, form: Mapping[str, str], old: Offer | None) -> dict[str, str | int]:
    """The texts and the lower price; what else the offer has, as the API set it, stays as it was."""
    kept = {} if old is None else {name: value for name, value in old.fields.items() if name not in INCENTIVES}
    told = kept | _texts(form, keep_empty=True) | _lower(session, form)
    return {name: value for name, value in told.items() if value != ""}


def _lower(session: Session, form: Mapping[str, str]) -> dict[str, int]:
    """What lowers the price, as a field of the offer; none where nothing does."""
    how, told = forms.text(form, "lower_how"), forms.text(form, "lower")
    if not how and not told:
        return {}
    if how not in INCENTIVES:
        raise InvalidInput("lower", "says by how much, not of what: choose it beside")
    if not told:
        raise InvalidInput("lower", "is missing: how much")
    if how == "percent":
        try:
            return {how: forms.whole({"lower": told.removesuffix("%")}, "lower") or 0}
        except InvalidInput:
            least, most = offers.LOWER_PRICES[how]
            raise InvalidInput("lower", f"must be a whole number from {least} to {most}") from None
    return {how: forms.cents(form, "lower", _currency(session, forms.optional(form, "product"), _pick(form)))}


def _currency(session: Session, product: str | None, pick: dict[str, Any] | None) -> str:
    """The currency of the product, or of those it is picked from; "" where there is none."""
    if product is None and pick is not None:
        try:
            product = pools.pool(session, forms.content(pick, PickIn))[0].id
        except InvalidInput:
            return ""
    row = session.get(Product, product) if product is not None else None
    return "" if row is None else row.currency


def _pick(form: Mapping[str, str]) -> dict[str, Any] | None:
    """How the product is picked; None where it is not."""
    how = forms.text(form, "pick_how")
    if not how:
        return None
    named = {
        name: [part for one in forms.text(form, f"pick_{name}").split(",") if (part := one.strip())] for name in POOL
    }
    named["categories"] = [slug(name) or name for name in named["categories"]]
    days = forms.whole(form, "pick_days")
    return {"how": how, **named, **({} if days is None else {"within_days": days})}


def _incentive(form: Mapping[str, str]) -> dict[str, Any] | None:
    """To whom the lower price is given; None where it is given to everybody."""
    limit, flagged = forms.text(form, "incentive_limit"), forms.on(form, "incentive_flagged")
    if not limit and not flagged:
        return None
    return {"flagged": flagged, "limit": forms.share(form, "incentive_limit") if limit else None}


def _lever(form: Mapping[str, str]) -> float:
    lever = forms.number(form, "lever", "must be a number such as 1 or 1.5")
    return 1.0 if lever is None else lever


def _rest(form: Mapping[str, str]) -> list[dict[str, Any]]:
    """The one rest that the form shows; none where its times are empty."""
    times = forms.whole(form, "rest_times")
    if times is None:
        return []
    days = {name: forms.whole(form, f"rest_{name}") for name in ("within_days", "off_days")}
    for name, value in days.items():
        if value is None:
            raise InvalidInput(f"rest_{name}", "is missing: so many days")
    return [{"after": form.get("rest_after", "ignored"), "times": times, **days}]


def _texts(form: Mapping[str, str], *, keep_empty: bool = False) -> dict[str, str]:
    texts = {name: forms.text(form, name, most=500) for name, _ in TEXTS}
    return texts if keep_empty else {name: value for name, value in texts.items() if value}
