"""Pictures: the library that managers upload to, and which pictures of products could not be fetched and why."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import PurePath
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import library
from campaigns.access import allow
from campaigns.addresses import MAX_ID
from campaigns.library import Focus
from campaigns.models import Picture
from campaigns.parts import parts
from campaigns.pictures import stored_picture
from campaigns.views import forms
from campaigns.views.acting import actor
from signals import productpictures
from signals.intake import Intake
from signals.products import publish_products

pages = Blueprint("pictures", __name__, url_prefix="/pictures")
PAGE = 48
FAILURES = 50
SHOWN_SIDE = 360
"""How large a picture is shown to set its focus, in CSS pixels: a click is told in these, with or without a script."""


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """The library, the newest first, and what is wrong with pictures of products."""
    with parts().transaction() as session:
        return _index(session, None)


@pages.post("/")
@allow("manager")
def upload() -> ResponseReturnValue:
    """Take a picture in."""
    file = request.files.get("file")
    try:
        if file is None or not file.filename:
            raise InvalidInput("file", "choose a picture")
        with closing(file):
            data = file.read()
        name = forms.text(request.form, "name", most=library.MAX_NAME) or PurePath(file.filename).stem[:80]
        with parts().transaction() as session:
            number = library.upload(session, parts().blobs, name, data, parts().now(), actor()).id
    except InvalidInput as error:
        with parts().transaction() as session:
            return _index(session, error), 400
    flash("The picture is kept. Click where its focus is: that stays in sight when it is cropped.")
    return redirect(url_for("pictures.show", picture_id=number))


@pages.get("/<int:picture_id>")
@allow("manager")
def show(picture_id: int) -> ResponseReturnValue:
    """One picture: its name, its focus, and the product it may stand for."""
    with parts().transaction() as session:
        return _show(library.picture(session, picture_id), None)


@pages.post("/<int:picture_id>")
@allow("manager")
def change(picture_id: int) -> ResponseReturnValue:
    """Keep name and focus; a click on the picture sets the focus there."""
    try:
        with parts().transaction() as session:
            row = library.picture(session, picture_id)
            name = forms.text(request.form, "name", most=library.MAX_NAME)
            library.change(session, picture_id, name, _focus(request.form, row), parts().now(), actor())
    except InvalidInput as error:
        return _refused(picture_id, error)
    flash("Saved.")
    return redirect(url_for("pictures.show", picture_id=picture_id))


@pages.post("/<int:picture_id>/product")
@allow("manager")
def for_product(picture_id: int) -> ResponseReturnValue:
    """Make it the picture of a product; the next open shows it."""
    try:
        product = forms.text(request.form, "product")
        with parts().transaction() as session:
            library.show_for_product(session, picture_id, product, parts().now(), actor())
        publish_products(Intake(parts().sessions, parts().store, parts().settings.hash_key), [product])
    except InvalidInput as error:
        return _refused(picture_id, error)
    flash("The product is shown with this picture from the next open on.")
    return redirect(url_for("pictures.show", picture_id=picture_id))


@pages.post("/<int:picture_id>/archive")
@allow("manager")
def archive(picture_id: int) -> ResponseReturnValue:
    """Take a picture out of the library."""
    with parts().transaction() as session:
        library.archive(session, picture_id, parts().now(), actor())
    flash("The picture is archived. Creatives that use it go on showing it.")
    return redirect(url_for("pictures.index"))


@pages.get("/<int:picture_id>/file")
@allow("manager")
def file(picture_id: int) -> ResponseReturnValue:
    """The picture itself."""
    with parts().transaction() as session:
        body, kind = stored_picture(parts().blobs, library.picture(session, picture_id).digest)
    return Response(body, content_type=kind)


@pages.post("/retry")
@allow("manager")
def retry() -> ResponseReturnValue:
    """Fetch a product's picture again, now."""
    with parts().transaction() as session:
        library.retry(session, [forms.text(request.form, "product")], parts().now(), actor())
    flash("It is fetched again within a few seconds.")
    return redirect(url_for("pictures.index"))


def _focus(form: Mapping[str, str], row: Picture) -> Focus:
    """Where the picture was clicked, or the numbers that were typed, in per cent."""
    width, height = shown_size(row.width, row.height)
    if "focus.x" in form:
        x, y = forms.whole(form, "focus.x") or 0, forms.whole(form, "focus.y") or 0
        return Focus(min(1.0, max(0.0, x / width)), min(1.0, max(0.0, y / height)))
    return Focus(forms.share(form, "focus_x"), forms.share(form, "focus_y"))


def shown_size(width: int, height: int) -> tuple[int, int]:
    """The size in which a picture is shown to be clicked, its longer side SHOWN_SIDE."""
    scale = SHOWN_SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _index(session: Session, fault: InvalidInput | None) -> str:
    rows = library.pictures(session, before=forms.position(request.args, "before", MAX_ID), most=PAGE + 1)
    failed_after = forms.text(request.args, "failed", most=100)
    failures = productpictures.failures(session, failed_after, FAILURES + 1)
    return render_template(
        "pictures/index.html",
        pictures=rows[:PAGE],
        older=rows[PAGE - 1].id if len(rows) > PAGE else None,
        counts=productpictures.counts(session),
        failures=failures[:FAILURES],
        more_failures=failures[FAILURES - 1].product_id if len(failures) > FAILURES else None,
        fault=fault,
    )


def _refused(picture_id: int, fault: InvalidInput) -> ResponseReturnValue:
    with parts().transaction() as session:
        return _show(library.picture(session, picture_id), fault), 400


def _show(row: Picture, fault: InvalidInput | None) -> str:
    told: dict[str, Any] = {"picture": row, "fault": fault, "size": shown_size(row.width, row.height)}
    return render_template("pictures/show.html", **told)
