"""Pictures: the library, and the pictures of products."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response

from campaigns import library
from campaigns.access import allow
from campaigns.api.desk import Done, OptionalId, Page, api, served
from campaigns.library import Focus
from campaigns.models import Picture
from campaigns.parts import parts
from campaigns.pictures import stored_picture
from campaigns.views.acting import actor
from signals import productpictures
from signals.intake import Intake
from signals.products import publish_products
from signals.state import MAX_PRODUCT_ID

ProductId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PRODUCT_ID)]


class PictureUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture to be kept: JPEG, PNG, GIF or WebP of at most 10 MB, in Base64."""

    name: str
    file: bytes


class PictureIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture's name and what must stay in sight when it is cropped."""

    name: str
    focus: Focus = Focus()


class PictureOut(msgspec.Struct, frozen=True):
    """A picture of the library. `digest` is what a creative names; width and height are pixels."""

    id: int
    name: str
    digest: str
    width: int
    height: int
    focus: Focus


class Pictures(msgspec.Struct, frozen=True):
    """A page of the library, the newest first."""

    pictures: list[PictureOut]


class ForProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The product that is to be shown with the picture."""

    product: ProductId


class Products(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Products whose pictures are to be fetched again."""

    products: Annotated[list[ProductId], msgspec.Meta(min_length=1, max_length=500)]


class PicturePage(Page, frozen=True, forbid_unknown_fields=True):
    """Which part of the library: pictures below the id `after`, at most `limit`."""

    after: OptionalId = 0


class FailurePage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the failures: products after `after`, at most `limit`."""

    after: Annotated[str, msgspec.Meta(max_length=MAX_PRODUCT_ID)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class Failure(msgspec.Struct, frozen=True):
    """A picture that could not be had: why, and when it is tried again (null: not by itself)."""

    product: str
    link: str
    fault: str
    due_at: str | None


class ProductPictures(msgspec.Struct, frozen=True):
    """How many pictures of products are kept, waiting and failed, and a page of what failed."""

    counts: dict[str, int]
    failures: list[Failure]


def _out(row: Picture) -> PictureOut:
    return PictureOut(row.id, row.name, row.digest, row.width, row.height, Focus(row.focus_x, row.focus_y))


@api.get("/pictures")
@allow("manager")
@served(200, Pictures, "pictures")
def list_pictures(query: PicturePage) -> Pictures:
    """The library, the newest first; `after` goes on below that id."""
    with parts().transaction() as session:
        rows = library.pictures(session, before=query.after, most=query.limit)
        return Pictures([_out(row) for row in rows])


@api.post("/pictures")
@allow("manager")
@served(201, PictureOut, "pictures")
def upload_picture(json: PictureUpload) -> tuple[PictureOut, int]:
    """Keep a picture, cleaned and scaled down to what mails need."""
    with parts().transaction() as session:
        return _out(library.upload(session, parts().blobs, json.name, json.file, parts().now(), actor())), 201


@api.get("/pictures/<int:picture_id>")
@allow("manager")
@served(200, PictureOut, "pictures", 404)
def get_picture(picture_id: int) -> PictureOut:
    """One picture."""
    with parts().transaction() as session:
        return _out(library.picture(session, picture_id))


@api.put("/pictures/<int:picture_id>")
@allow("manager")
@served(200, PictureOut, "pictures", 404)
def change_picture(picture_id: int, json: PictureIn) -> PictureOut:
    """Rename a picture and move its focus."""
    with parts().transaction() as session:
        return _out(library.change(session, picture_id, json.name, json.focus, parts().now(), actor()))


@api.delete("/pictures/<int:picture_id>")
@allow("manager")
@served(200, Done, "pictures", 404)
def archive_picture(picture_id: int) -> Done:
    """Take a picture out of the library; where it is used it goes on being drawn."""
    with parts().transaction() as session:
        library.archive(session, picture_id, parts().now(), actor())
    return Done()


@api.get("/pictures/<int:picture_id>/file")
@allow("manager")
@served(200, None, "pictures", 404)
def get_picture_file(picture_id: int) -> Response:
    """The picture itself (JPEG or PNG)."""
    with parts().transaction() as session:
        body, kind = stored_picture(parts().blobs, library.picture(session, picture_id).digest)
    return Response(body, content_type=kind)


@api.post("/pictures/<int:picture_id>/product")
@allow("manager")
@served(200, Done, "pictures", 404)
def show_picture_for_product(picture_id: int, json: ForProduct) -> Done:
    """Show a product with this picture from the next open on, in place of what the feed links to."""
    with parts().transaction() as session:
        library.show_for_product(session, picture_id, json.product, parts().now(), actor())
    publish_products(Intake(parts().sessions, parts().store, parts().settings.hash_key), [json.product])
    return Done()


@api.get("/product-pictures")
@allow("manager")
@served(200, ProductPictures, "pictures")
def list_product_pictures(query: FailurePage) -> ProductPictures:
    """The pictures that feeds link to: how many are kept, and what could not be fetched and why."""
    with parts().transaction() as session:
        rows = productpictures.failures(session, query.after, query.limit)
        failures = [
            Failure(row.product_id, row.link, row.fault, row.due_at.isoformat() if row.due_at else None) for row in rows
        ]
        return ProductPictures(productpictures.counts(session), failures)


@api.post("/product-pictures/retry")
@allow("manager")
@served(200, Done, "pictures")
def retry_product_pictures(json: Products) -> Done:
    """Fetch pictures that failed again, now."""
    with parts().transaction() as session:
        library.retry(session, json.products, parts().now(), actor())
    return Done()
