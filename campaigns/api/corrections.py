"""What support corrects and adds, for programs that agents work with. Each change is logged, and in effect at once."""

from __future__ import annotations

from typing import Annotated

import msgspec

from campaigns import corrections
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.corrections import AddedIn, CorrectionIn
from campaigns.parts import parts
from campaigns.views.acting import actor


class AddedOut(msgspec.Struct, frozen=True):
    """The number of what was added; that of a complaint settles it."""

    number: str


class SettledIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The complaint that is settled, by the number that it was opened with; empty for one without."""

    complaint: Annotated[str, msgspec.Meta(max_length=64)] = ""


@api.post("/customers/<long:profile>/corrections")
@allow("support")
@served(200, Done, "customers", 404)
def correct_record(profile: int, json: CorrectionIn) -> Done:
    """Correct one line of a signal: a gift, not for them, somebody else's, or something they own already."""
    corrections.correct(parts().intake, profile, json, parts().now(), actor())
    return Done(state=json.word)


@api.delete("/customers/<long:profile>/corrections/<long:event>/<int:line>")
@allow("support")
@served(200, Done, "customers", 404)
def take_back_correction(profile: int, event: int, line: int) -> Done:
    """Take a correction back: the line counts again as it came."""
    corrections.take_back(parts().intake, profile, event, line, parts().now(), actor())
    return Done()


@api.post("/customers/<long:profile>/notes")
@allow("support")
@served(201, AddedOut, "customers", 404)
def add_note(profile: int, json: AddedIn) -> tuple[AddedOut, int]:
    """Add a complaint, or the note of a call."""
    return AddedOut(corrections.add(parts().intake, profile, json, parts().now(), actor())), 201


@api.post("/customers/<long:profile>/complaints/settle")
@allow("support")
@served(200, Done, "customers", 404)
def settle_complaint(profile: int, json: SettledIn) -> Done:
    """Note that a complaint is settled."""
    corrections.settle(parts().intake, profile, json.complaint, parts().now(), actor())
    return Done(state="settled")
