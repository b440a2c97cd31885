"""Creatives: all of them as pictures, and an editor that needs no code and no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput
from campaigns import creativeform, creatives, creativewords, editions, library, models
from campaigns.access import allow
from campaigns.addresses import MAX_ID
from campaigns.creativeform import GROUPS, Draft
from campaigns.parts import parts
from campaigns.pictures import sample_picture
from campaigns.samples import SAMPLES
from campaigns.views import forms
from campaigns.views.acting import actor
from campaigns.views.pictures import shown_size
from render.creative import ROLES, SCHEME_COLOURS, Creative

pages = Blueprint("creatives", __name__, url_prefix="/creatives")
A_PAGE = 6
"""Creatives on a page of the gallery: each is drawn once for every sample, in light and dark."""
FIRST_SAMPLE = "usual"
FOCUSED = re.compile(r"focus\.([LO])(\d{1,2})")
MAX_PICTURES = 200


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """All creatives by name; a search and a family narrow them."""
    query, family = request.args.get("q", "").strip().lower(), request.args.get("family", "")
    with parts().transaction() as session:
        rows = creatives.creatives(session)
        shown = [
            row for row in rows if query in row.name.lower() and family in ("", row.document.get("family") or "none")
        ]
        return render_template(
            "creatives/index.html", creatives=shown, families=_families(rows), family=family, query=query
        )


@pages.get("/gallery")
@allow("manager")
def gallery() -> ResponseReturnValue:
    """Every creative with every sample, in light and dark, at once or twice the declared size."""
    family, sample = request.args.get("family", ""), request.args.get("sample", "")
    scale = 1 if request.args.get("scale") == "1" else 2
    with parts().transaction() as session:
        rows = creatives.creatives(session)
        shown = [row for row in rows if family in ("", row.document.get("family") or "none")]
        start = min(forms.position(request.args, "start"), 10**6)
        return render_template(
            "creatives/gallery.html",
            creatives=shown[start : start + A_PAGE],
            start=start,
            step=A_PAGE,
            total=len(shown),
            families=_families(rows),
            family=family,
            samples={sample: SAMPLES[sample]} if sample in SAMPLES else SAMPLES,
            all_samples=SAMPLES,
            sample=sample,
            scale=scale,
        )


@pages.get("/new")
@allow("manager")
def new() -> ResponseReturnValue:
    """The editor, beginning with a copy of the creative that `from` names, else of the first there is."""
    with parts().transaction() as session:
        number = forms.position(request.args, "from", MAX_ID)
        rows = creatives.creatives(session)
        row = creatives.creative(session, number) if number else rows[0] if rows else None
        if row is None:
            flash("There is no creative to begin with.", "error")
            return redirect(url_for("creatives.index"))
        draft = creativeform.draft_of(f"{row.name[:100]} (copy)", row.document)
        return _editor(session, None, draft, None)


@pages.get("/<int:creative_id>")
@allow("manager")
def edit(creative_id: int) -> ResponseReturnValue:
    """The editor of one creative."""
    with parts().transaction() as session:
        row = creatives.creative(session, creative_id)
        return _editor(session, creative_id, creativeform.draft_of(row.name, row.document), None)


@pages.post("/new")
@allow("manager")
def create() -> ResponseReturnValue:
    """Keep a new creative, or change its parts as a button says."""
    return _save(None)


@pages.post("/<int:creative_id>")
@allow("manager")
def save(creative_id: int) -> ResponseReturnValue:
    """Keep the changes, or change parts as a button says. What is published stays until it is published again."""
    return _save(creative_id)


@pages.post("/<int:creative_id>/archive")
@allow("manager")
def archive(creative_id: int) -> ResponseReturnValue:
    """Take a creative out of the lists."""
    with parts().transaction() as session:
        creatives.archive_creative(session, creative_id, parts().now(), actor())
    flash("The creative is archived.")
    return redirect(url_for("creatives.index"))


@pages.post("/preview")
@allow("manager")
def preview() -> ResponseReturnValue:
    """What is in the form now, drawn in light and dark, as part of a page."""
    draft = creativeform.draft_from(request.form)
    with parts().transaction() as session:
        _adopt_focus(session, draft)
    return render_template("creatives/preview.html", **_drawn(draft, _sample()))


@pages.get("/<int:creative_id>/picture.jpg")
@allow("manager")
def picture(creative_id: int) -> ResponseReturnValue:
    """The creative as it is saved, drawn with a sample."""
    with parts().transaction() as session:
        creative = creatives.compiled(creatives.creative(session, creative_id))
    args = request.args
    body = sample_picture(
        creative, parts().blobs, _sample(args), dark="dark" in args, scale=1 if args.get("scale") == "1" else 2
    )
    return Response(body, content_type="image/jpeg")


def _save(creative_id: int | None) -> ResponseReturnValue:
    draft = creativeform.draft_from(request.form)
    pressed = request.form.get("do", "")
    focused = [name for name in request.form if name.startswith("focus.") and name.endswith(".x")]
    if focused or pressed not in ("", "save"):
        with parts().transaction() as session:
            _adopt_focus(session, draft)
            for name in focused:
                _focus(session, draft, name.removesuffix(".x"))
            creativeform.acted(draft, pressed)
            return _editor(session, creative_id, draft, None)
    try:
        with parts().transaction() as session:
            _adopt_focus(session, draft)
            name, document = draft.values["name"], creativeform.document(draft)
            if creative_id is None:
                row = creatives.create_creative(session, name, document, parts().now(), actor())
            else:
                old = creatives.creative(session, creative_id)
                editions.check(session, old, "creative", partial(_edition, old))
                row = creatives.update_creative(session, creative_id, name, document, parts().now(), actor())
            number = row.id
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            return _editor(session, creative_id, draft, error), 400
    flash("Saved. Publish a campaign again to show the change in it.")
    return redirect(url_for("creatives.edit", creative_id=number))


def _adopt_focus(session: Session, draft: Draft) -> None:
    """A layer that was given another picture of the library begins with that picture's focus."""
    places = [(f"{letter}{n}", part) for letter in GROUPS for n, part in enumerate(draft.group(letter))]
    for place, layer in places:
        was = request.form.get(f"{place}.was")
        if was is None or was in (layer.values.get(name) for name in creativewords.PICTURES):
            continue
        chosen = _chosen(library.pictures(session, most=MAX_PICTURES), layer.values)
        if chosen is not None:
            layer.values |= {"focus_x": f"{chosen.focus_x:.2f}", "focus_y": f"{chosen.focus_y:.2f}"}


def _focus(session: Session, draft: Draft, name: str) -> None:
    """A layer's picture was clicked: the place is told in the pixels in which it is shown."""
    place = FOCUSED.fullmatch(name)
    if place is None or int(place[2]) >= len(draft.group(place[1])):
        return
    values = draft.group(place[1])[int(place[2])].values
    chosen = _chosen(library.pictures(session, most=MAX_PICTURES), values)
    if chosen is None:
        return
    for axis, side in zip("xy", shown_size(chosen.width, chosen.height), strict=True):
        at = forms.whole(request.form, f"{name}.{axis}") or 0
        values[f"focus_{axis}"] = f"{min(1.0, max(0.0, at / side)):.2f}"


def _chosen(pictures: list[Any], values: Mapping[str, str]) -> Any:
    """The picture of the library that a layer shows, if it shows one."""
    named = {values.get(name) for name in creativewords.PICTURES}
    return next((picture for picture in pictures if picture.digest in named), None)


def _edition(row: models.Creative) -> str:
    return editions.of(row.name, row.document, row.archived_at)


def _editor(session: Session, creative_id: int | None, draft: Draft, fault: InvalidInput | Conflict | None) -> str:
    field = getattr(fault, "field", "name" if fault else None)
    pictures = library.pictures(session, most=MAX_PICTURES)
    return render_template(
        "creatives/edit.html",
        creative_id=creative_id,
        edition="" if creative_id is None else _edition(creatives.creative(session, creative_id)),
        draft=draft,
        fault=fault,
        field=None if field is None else creativeform.form_field(field),
        message=getattr(fault, "message", str(fault)) if fault else "",
        form=creativeform,
        words=creativewords,
        counts_down=any(item.kind == "countdown" for layer in draft.layers for item in layer.items),
        pictures=pictures,
        chosen={
            f"{letter}{n}": _chosen(pictures, part.values)
            for letter in GROUPS
            for n, part in enumerate(draft.group(letter))
        },
        shown_size=shown_size,
        colours=(*ROLES, *SCHEME_COLOURS),
        samples=SAMPLES,
        sample=_sample(),
        **_drawn(draft, _sample()),
    )


def _drawn(draft: Draft, sample: str) -> dict[str, Any]:
    """The two pictures of a draft, or what keeps it from being drawn."""
    try:
        creative: Creative = creatives.read(draft.values["name"] or "New", creativeform.document(draft))
    except InvalidInput as error:
        return {"drawn_fault": f"It can be drawn again when this is put right: {error.message}."}
    drawn = [
        base64.b64encode(sample_picture(creative, parts().blobs, sample, dark=dark, scale=2)).decode()
        for dark in (False, True)
    ]
    return {"drawn": drawn}


def _sample(values: Mapping[str, str] | None = None) -> str:
    """The sample that a form or an address asks for, by name."""
    name = (request.form if values is None else values).get("sample", FIRST_SAMPLE)
    return name if name in SAMPLES else FIRST_SAMPLE


def _families(rows: list[Any]) -> list[str]:
    return sorted({row.document.get("family") or "none" for row in rows})
