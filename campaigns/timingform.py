"""How a campaign's mails get their moments, as a form of the schedule page and as sentences beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from base.errors import InvalidInput
from campaigns import timing, wallclock
from campaigns.campaigns import NOT_BEGUN
from campaigns.models.campaign import Campaign, Occurrence
from campaigns.runs import ASKED, SKIPPED
from campaigns.timing import DAYS, Missed, Repeat, Timing, Window
from campaigns.views import forms

DAY_NAMES: Final = dict(
    zip(DAYS, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), strict=True)
)
CLOCKS: Final = {"campaign": "at the same moment everywhere", "recipient": "by each recipient’s own clock"}
PASSED: Final = {"now": "mail them at once", "next_day": "wait for that hour of the next day", "skip": "leave them out"}
PASSED_WORDS: Final = {
    "now": "they get it at once",
    "next_day": "they get it at that hour of the next day",
    "skip": "they get none, and the audience’s count says so",
}
LATE: Final = {"send": "send it late", "skip": "leave that run out", "ask": "pause and ask"}
JOINS: Final = {
    "scheduling": "who fits when it is scheduled",
    "send": "who fits when it begins",
    "until_end": "who fits when it begins, and whoever joins until it ends",
}
EVERY: Final = {"day": "days", "week": "weeks", "month": "months"}
JOIN_WORDS: Final = {
    "scheduling": "It goes to who fits the audience when it is scheduled; who joins later gets none.",
    "send": "It goes to who fits the audience when it begins; who joins later gets none.",
    "until_end": "It goes to who fits the audience when it begins and to whoever joins until it ends, once each.",
}


def read(form: Mapping[str, str], several: Mapping[str, Sequence[str]], row: Campaign) -> dict[str, Any]:
    """What was chosen, as fields of a campaign. Raises InvalidInput naming the field.

    Once the campaign has begun the form no longer asks whom it takes in and how it comes again: that stays.
    """
    held = Timing() if row.state in NOT_BEGUN else timing.of(row.timing)
    windowed = "window" in form
    if windowed and not several.get("window-day"):
        raise InvalidInput("window-day", "choose one at least")
    values: dict[str, Any] = {
        "clocks": form.get("clocks", "campaign"),
        "passed": form.get("passed", "next_day"),
        "own_hours": "own_hours" in form and form.get("clocks") == "recipient",
        "window": {
            "days": list(several.get("window-day", ())), "begin": form.get("window-begin", ""),
            "until": form.get("window-until", "") or "24:00", "clocks": form.get("window-clocks", "campaign"),
        } if windowed else None,
        "missed": {"late": form.get("late", "send"), "after_minutes": forms.whole(form, "late-minutes") or 240},
        "joins": form.get("joins", held.joins),
        "newcomers_only": held.newcomers_only or "newcomers_only" in form,
    }  # fmt: skip
    if values["window"] and values["window"]["until"] == "00:00":
        values["window"]["until"] = "24:00"
    made: dict[str, Any] = {"timing": forms.content(values, Timing), "ends_at": _end(form, row)}
    if row.kind == "recurring" and (row.state in NOT_BEGUN or "every" in form):
        repeat = {
            "every": form.get("every", "week"), "each": forms.whole(form, "each") or 1,
            "days": list(several.get("repeat-day", ())) if form.get("every") == "week" else [],
            "times": forms.whole(form, "times"),
        }  # fmt: skip
        made["repeat"] = forms.content(repeat, Repeat)
    return made


def words(row: Campaign) -> list[str]:
    """What is chosen, a sentence each."""
    plan = timing.of(row.timing)
    said = [joins(row)]
    if row.repeat is not None:
        said.append(repeats(msgspec.convert(row.repeat, Repeat), row))
    if plan.clocks == "recipient":
        said.append(
            "Each recipient gets it when their own clock shows the time. Whose zone nobody told goes by "
            f"{row.timezone}. Where the hour is over already, {PASSED_WORDS[plan.passed]}."
        )
    if plan.own_hours:
        said.append("Who usually clicks in mails at an hour of their own gets it at that hour instead.")
    if plan.window is not None:
        said.append(_window(plan.window, row.timezone))
    if row.kind != "triggered":
        said.append(_missed(plan.missed))
    return said


def joins(row: Campaign) -> str:
    """Whom the campaign goes to, as people come to fit its audience and leave it."""
    plan = timing.of(row.timing)
    if row.kind == "evergreen":
        if plan.newcomers_only:
            return "It goes to whoever joins the audience after it began, once each."
        return "It goes to everybody in the audience, and to whoever joins later, once each."
    if row.kind == "triggered":
        return "It goes to who fits the audience and does what it waits for, right after that."
    return JOIN_WORDS[plan.joins]


def repeats(repeat: Repeat, row: Campaign) -> str:
    """How a campaign comes again, as a sentence."""
    often = f"every {repeat.each} {EVERY[repeat.every]}" if repeat.each > 1 else f"every {repeat.every}"
    days = f" on {_listed([DAY_NAMES[day] for day in DAYS if day in repeat.days])}" if repeat.days else ""
    last = f", {repeat.times} times in all" if repeat.times is not None else ""
    end = f", until {_local(row.ends_at, row.timezone)} in {row.timezone}" if row.ends_at is not None else ""
    return f"It comes again {often}{days}{last}{end}."


def run_words(run: Occurrence) -> str:
    """What became of a run."""
    if run.missed == SKIPPED:
        return "left out: it could not begin in time"
    if run.state == "due":
        return "waits for somebody’s word: it is late" if run.missed == ASKED else "to come"
    return {"sending": "under way", "cancelled": "cancelled"}.get(run.state, "done")


def span(minutes: int) -> str:
    """A number of minutes in words."""
    hours, left = divmod(minutes, 60)
    parts = ((hours, "hour"), (left, "minute"))
    return " and ".join(f"{number} {unit}{'s' if number > 1 else ''}" for number, unit in parts if number)


def _window(window: Window, zone: str) -> str:
    days = "on every day" if len(window.days) == len(DAYS) else f"on {_days(window.days)}"
    whose = f"in {zone}" if window.clocks == "campaign" else "by each recipient’s own clock"
    return f"Mails leave only {days} from {window.begin} to {window.until}, {whose}; outside of it they wait."


def _missed(missed: Missed) -> str:
    late = {"send": "it goes out nevertheless", "skip": "that run is left out", "ask": "it is paused and you are asked"}
    if missed.late == "send":
        return "If nothing runs at its time, it goes out as soon as something does."
    return f"If it could not begin within {span(missed.after_minutes)} of its time, {late[missed.late]}."


def _days(days: Sequence[str]) -> str:
    places = sorted(DAYS.index(day) for day in days)
    if len(places) > 2 and places[-1] - places[0] == len(places) - 1:
        return f"{DAY_NAMES[DAYS[places[0]]]} to {DAY_NAMES[DAYS[places[-1]]]}"
    return _listed([DAY_NAMES[DAYS[place]] for place in places])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _local(at: datetime, zone: str) -> str:
    return f"{wallclock.of_instant(at, zone).wall:%-d %b %Y, %H:%M}"


def _end(form: Mapping[str, str], row: Campaign) -> datetime | None:
    """When it ends; what is saved as it was shown stays the same instant."""
    value = form.get("ends_at", "").strip()
    if not value:
        return None
    zone = form.get("timezone", "").strip() or row.timezone
    wall = wallclock.parse(value, "ends_at")
    meant = wallclock.read(wall, wallclock.zone(zone, "timezone"))
    same = row.ends_at is not None and abs(row.ends_at - meant.at) < timedelta(minutes=1)
    return row.ends_at if same else meant.at
