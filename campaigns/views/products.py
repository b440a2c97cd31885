"""The product catalogue: a search over it, each product with what depends on it, and how its feeds do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError

from base.errors import InvalidInput, NotFound
from campaigns import feedtrust, products, productuse, relations
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.pictures import stored_picture
from campaigns.products import Wanted
from campaigns.views import forms
from signals import feedhealth
from signals.moments import unix_ms
from signals.productevents import interest
from signals.state import MAX_PRODUCT_ID

pages = Blueprint("products", __name__)
PAGE = 50
AGES = {1: "an hour", 6: "6 hours", 24: "a day", 48: "2 days", 168: "a week", 720: "30 days"}
"""The ages of a feed's word that can be asked for, in hours."""
PICTURE_SECONDS = 86_400


@pages.get("/products/")
@allow("manager", "support")
def index() -> ResponseReturnValue:
    """The catalogue, by id; searched and narrowed by the address alone, so that a view of it can be kept."""
    fault = None
    try:
        wanted = _wanted()
    except InvalidInput as error:
        wanted, fault = Wanted(), error
    after, now = request.args.get("after", "").replace("\x00", "")[:MAX_PRODUCT_ID], parts().now()
    with parts().transaction() as session:
        rows = products.listed(session, wanted, now, after=after, most=PAGE + 1) if fault is None else []
        page = render_template(
            "products/index.html",
            items=rows[:PAGE],
            following=rows[PAGE - 1].product.id if len(rows) > PAGE else None,
            after=after,
            total=len(rows) if not after and len(rows) <= PAGE else products.count(session, wanted, now),
            most=products.MOST_COUNTED,
            wanted=wanted,
            query=request.args.get("q", ""),
            asked={name: value for name, value in request.args.items() if name != "after" and value},
            categories=products.categories(session),
            ages=AGES,
            stale_before=now - feedtrust.strictest(feedtrust.trusts(session, parts().blobs, now)),
            now=now,
            signals_url=parts().settings.signals_url,
            fault=fault,
        )
    return page if fault is None else (page, 400)


@pages.get("/products/<product:product_id>")
@allow("manager", "support")
def show(product_id: str) -> ResponseReturnValue:
    """One product: its facts as they were told and as opens read them, what depends on it, who took to it."""
    now = parts().now()
    with parts().transaction() as session:
        item = products.product(session, product_id)
        told: dict[str, Any] = {"read": None, "differing": [], "away": False}
        try:
            told["read"] = read = products.hot(parts().store, item.product.id)
            told["differing"] = [] if read is None else products.differences(item.product, read)
        except RedisError:
            read, told["away"] = None, True
        found = productuse.uses(session, item.product, item.category)
        trusted = feedtrust.trusts(session, parts().blobs, now)
        age = now - item.product.feed_at
        return render_template(
            "products/show.html",
            item=item,
            row=item.product,
            picture=products.picture_of(session, item.product.id),
            uses=found,
            refused=[] if told["away"] else productuse.refusals(session, trusted, found, read, now),
            company=productuse.company(session, parts().blobs, item.product),
            stale_for=[one.name for one in trusted.values() if age > one.bound],
            is_stale=age > feedtrust.strictest(trusted),
            read_at=None if read is None else relations.moment(read.feed_ms),
            read_price=None if read is None else read.priced(unix_ms(now)).price_cents,
            now=now,
            **told,
        )


@pages.get("/product-interest/<product:product_id>")
@allow("manager", "support")
def took(product_id: str) -> ResponseReturnValue:
    """Who bought it and who looked at it, among the newest signals; a part of its page that may take a moment."""
    with parts().transaction() as session:
        item = products.product(session, product_id)
        return render_template("products/interest.html", interest=interest(session, item.product.id))


@pages.get("/product-pictures/<product:product_id>")
@allow("manager", "support")
def picture(product_id: str) -> ResponseReturnValue:
    """The picture that is kept of a product."""
    with parts().transaction() as session:
        digest = products.product(session, product_id).product.image_blob
        if not digest:
            raise NotFound("picture of this product")
        body, kind = stored_picture(parts().blobs, digest)
    response = Response(body, content_type=kind)
    if request.args.get("v") == digest[:12]:
        # The address names these very bytes.
        response.cache_control.private = True
        response.cache_control.max_age = PICTURE_SECONDS
    return response


@pages.get("/product-feeds")
@allow("manager", "support")
def feeds() -> ResponseReturnValue:
    """How each feed does: when it last told, what was taken and refused and why, and how much of it is too old."""
    now = parts().now()
    with parts().transaction() as session:
        trusted = feedtrust.trusts(session, parts().blobs, now)
        strictest = feedtrust.strictest(trusted)
        return render_template(
            "products/feeds.html",
            feeds=feedhealth.feeds(session, now, strictest),
            names=products.source_names(session),
            trusted=trusted,
            strictest=strictest,
            stale_hours=max(1, int(strictest / timedelta(hours=1))),
            signals_url=parts().settings.signals_url,
        )


def _wanted() -> Wanted:
    """What the address asks for. Raises InvalidInput."""
    values = request.args
    older = forms.whole(values, "older")
    if older is not None and not 0 < older <= 24 * 3650:
        raise InvalidInput("older", "must be a number of hours, from 1 to ten years")
    text = forms.text(values, "q", most=products.MAX_QUERY)
    products.words(text)
    return Wanted(
        text=text,
        category=forms.optional(values, "category"),
        sold_out=forms.on(values, "sold_out"),
        older_hours=older,
        no_picture=forms.on(values, "no_picture"),
        sensitive=forms.on(values, "sensitive"),
        gone=forms.on(values, "gone"),
    )
