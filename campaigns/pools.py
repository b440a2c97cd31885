"""From what a manager says a product may be picked to the pool that a plan holds: named products, categories, lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns.models.catalogue import Offer
from render import validity
from render.creative import Creative
from render.pick import MAX_DAYS, MAX_POOL, How, Pick, PoolProduct
from render.template import compile_template
from signals.catalog import Category
from signals.products import Product

MAX_NAMED: Final = 24
Named = Annotated[list[Annotated[str, Meta(max_length=500)]], Meta(max_length=MAX_NAMED)]


class PickIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an offer's product is picked at open, see render.pick.Pick.

    It is picked from products by id, from those of categories (slugs), and from whole lines: 24 products in all.
    """

    how: How
    products: Named = []
    categories: Named = []
    lines: Named = []
    within_days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] = 60


def check(session: Session, pick: PickIn) -> None:
    """Raises InvalidInput for `pick` when something it names is not there, or makes no pool."""
    known = set(session.scalars(select(Product.id).where(Product.id.in_(pick.products))))
    if missing := [name for name in pick.products if name not in known]:
        raise InvalidInput("pick", f"names the product {missing[0]!r}, which the feed does not have")
    rows = session.execute(select(Category.slug, Category.sensitive).where(Category.slug.in_(pick.categories)))
    sensitive = {row.slug: row.sensitive for row in rows}
    for slug in pick.categories:
        if slug not in sensitive:
            raise InvalidInput("pick", f"names the category {slug}, which there is not")
        if sensitive[slug]:
            raise InvalidInput("pick", f"names {slug}, a sensitive category: nothing may be picked from it")
    pool(session, pick)


def pool(session: Session, pick: PickIn) -> tuple[PoolProduct, ...]:
    """The products that may be picked: those that are named first, then by line, tier and id.

    An upgrade holds whole lines, also of the named products, for what a person owns must be among them, gone or not.
    Versions
    without a tier of their own are ordered by price. Raises InvalidInput for `pick` where nothing or too much is left.
    """
    chosen = or_(
        Product.id.in_(pick.products), Category.slug.in_(pick.categories), Product.line.in_(pick.lines)
    )  # fmt: skip
    if pick.how == "upgrade":
        lines = select(Product.line).join(Category, Category.id == Product.category_id, isouter=True).where(chosen)
        chosen = Product.line.in_(lines.where(Product.line.is_not(None)))
    else:
        chosen = and_(chosen, or_(Product.gone_at.is_(None), Product.id.in_(pick.products)))
    query = select(Product).join(Category, Category.id == Product.category_id, isouter=True).where(chosen)
    # One more than fits, so that too many are noticed.
    rows = session.scalars(query.where(Category.sensitive.is_not(True)).limit(MAX_POOL + 1)).all()
    if not rows:
        raise InvalidInput("pick", "leaves no product to pick from: name products, categories or lines")
    if len(rows) > MAX_POOL:
        raise InvalidInput(
            "pick", f"leaves more than {MAX_POOL} products to pick from; name those that matter most, by id"
        )
    tiers = _tiers(rows)
    named = {name: place for place, name in enumerate(pick.products)}
    entries = [
        PoolProduct(row.id, row.category_id or 0, row.line or "", tiers.get(row.id, 0), row.link or "") for row in rows
    ]
    entries.sort(key=lambda entry: (named.get(entry.id, len(named)), entry.line, entry.tier, entry.id))
    if pick.how == "upgrade" and not any(entry.tier for entry in entries):
        raise InvalidInput("pick", "is an upgrade, yet no line of these products has versions to rise to")
    return tuple(entries)


def compiled(session: Session, row: Offer) -> Pick:
    """How an offer picks its product, as a plan holds it. Raises InvalidInput naming the offer."""
    pick = msgspec.convert(row.pick, PickIn)
    try:
        return Pick(how=pick.how, pool=pool(session, pick), within_days=pick.within_days)
    except InvalidInput as error:
        raise InvalidInput(f"offers[{row.id}].pick", error.message) from error


def versions(session: Session, row: Offer, design: Creative) -> tuple[PoolProduct, ...]:
    """The versions of the product's line, where the offer or its design tells of others than the product.

    Raises InvalidInput where it does, and the product belongs to no line.
    """
    if not _tells_of_versions(row, design) or row.pick is not None:
        return ()
    product = session.get(Product, row.product) if row.product is not None else None
    if product is None or product.line is None:
        raise InvalidInput(
            f"offers[{row.id}].product", "belongs to no line, yet the picture tells of its dearer or cheapest version"
        )
    rows = session.scalars(select(Product).where(Product.line == product.line).limit(MAX_POOL + 1)).all()
    tiers = _tiers(rows)
    entries = [PoolProduct(one.id, one.category_id or 0, product.line, tiers[one.id], one.link or "") for one in rows]
    return tuple(sorted(entries, key=lambda entry: (entry.tier, entry.id)))


def _tells_of_versions(row: Offer, design: Creative) -> bool:
    read = set(validity.check(design))
    for text in row.fields.values():
        if isinstance(text, str):
            read |= {".".join(path) for path in compile_template(text)[1]}
    return any(name.startswith(("product.stretch_", "product.entry_")) for name in read)


def _tiers(rows: Sequence[Product]) -> dict[str, int]:
    """The place of each version in its line, from 0; versions that are equal in tier (or price) share one."""
    lines: dict[str, list[Product]] = {}
    for row in rows:
        if row.line is not None:
            lines.setdefault(row.line, []).append(row)
    tiers: dict[str, int] = {}
    for versions in lines.values():
        is_told = all(row.tier is not None for row in versions)
        ranks = {row.id: (row.tier or 0) if is_told else row.price_cents for row in versions}
        places = {rank: place for place, rank in enumerate(sorted(set(ranks.values())))}
        tiers |= {name: places[rank] for name, rank in ranks.items()}
    return tiers
