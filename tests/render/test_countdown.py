"""Countdowns: the first frame is right at the request's second, the frames count on, and at 0 comes another picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import islice

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace
from PIL import Image, ImageChops, ImageStat
from PIL.GifImagePlugin import GifImageFile

from base.clock import FixedClock
from base.errors import InvalidInput
from base.ids import Delivery
from render.binding import instant, resolve
from render.calendar import LANGUAGES, MAX_MS, calendar_locale, local_time, unit_names
from render.clockface import MAX_DAYS, ClockFace, reading
from render.creative import Background, Box, Column, Countdown, Creative, Layer, Resolved, Text, countdown_of
from render.draw import _Drawing, compose, draw
from render.faults import validate
from render.plan import Plan
from render.samples import SAMPLES
from render.starting import BY_NAME, HERO, STARTING
from render.validity import check
from signals.fold import fold_all
from signals.foldevent import FoldEvent
from tests.render.drawing import fonts
from tests.render.mail import APPLE, GMAIL, SCANNER, Mail, browser
from tests.render.shoe_shop import DISCOUNT, NOON, NOON_MS, SENT_MS, plan, state
from tests.render.test_draw import blob, photograph

CEILING = 250_000
DESIGN = BY_NAME["Countdown"]
COUNTING = [creative for creative in STARTING if countdown_of(creative.layers)]
DAY, HOUR = 86_400, 3600


def bound(creative: Creative, left: int, locale: str = "en", **fields: str) -> Resolved:
    """The design with so many seconds left, asked for in the middle of a second."""
    ends = {"offer.ends_ms": NOON_MS + left * 1000, "profile.timezone": "Europe/Vienna"}
    return resolve(creative, {**SAMPLES[creative.id], **ends, **fields}, locale, at_ms=NOON_MS + 500)


def gif(
    resolved: Resolved, dark: bool = False, max_bytes: int = CEILING, assets: dict[str, bytes] | None = None
) -> bytes:
    return draw(resolved, assets or {}, (resolved.width, resolved.height), "gif", dark, fonts(), max_bytes)


def opened(data: bytes) -> GifImageFile:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, GifImageFile)
    return image


def frames(data: bytes) -> Iterator[Image.Image]:
    """The frames as they are seen, one upon the other."""
    with opened(data) as image:
        for number in range(image.n_frames):
            image.seek(number)
            yield image.convert("RGB")


def length(data: bytes) -> int:
    with opened(data) as image:
        return image.n_frames


def face_of(resolved: Resolved, dark: bool = False) -> ClockFace:
    """The face, put where the picture has it."""
    return _Drawing(resolved, {}, (resolved.width, resolved.height), dark, fonts()).sheet.clocks[0]


def read(face: ClockFace, frame: Image.Image) -> str:
    """The digits on a frame: in each place, the drawn one that is most like it."""
    told = ""
    for number, place in enumerate(face.places):
        off = [distance(sheet[number], frame.crop(place)) for sheet in references(face)]
        assert min(off) < 4
        told += str(off.index(min(off)))
    return told


@cache
def references(face: ClockFace) -> list[list[Image.Image]]:
    """Each digit, in each place of the face."""
    sheets = []
    for digit in "0123456789":
        sheet = Image.new("RGB", (1200, 600))
        face.show(sheet, digit * len(face.places))
        sheets.append([sheet.crop(place) for place in face.places])
    return sheets


def distance(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.feature("EC-19")
@pytest.mark.parametrize("left", [3 * DAY + 5 * HOUR + 61, DAY + 30, HOUR - 1, 5], ids=["days", "a day", "1 h", "5 s"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_shows_what_is_left_at_the_second_of_the_request_and_counts_on(left: int, dark: bool) -> None:
    resolved = bound(DESIGN, left)
    face = face_of(resolved, dark)
    data = gif(resolved, dark)
    counted = [read(face, frame) for frame in islice(frames(data), min(left, 61))]
    assert counted == [reading(left - passed, face.days) for passed in range(len(counted))]
    assert length(data) == min(left, 60) + 1
    assert distance(next(frames(data)), compose(resolved, {}, HERO, dark, fonts())) < 2


@pytest.mark.feature("EC-19")
@pytest.mark.parametrize("creative", COUNTING, ids=lambda creative: creative.name)
def test_it_ends_with_the_picture_for_afterwards_and_shows_it_alone_from_then_on(creative: Creative) -> None:
    size = creative.width, creative.height
    ended = compose(bound(creative, 0), {}, size, False, fonts())
    last = list(frames(gif(bound(creative, 7))))[-1]
    assert distance(last, ended) < 2
    for left in (0, -1, -90 * DAY):
        data = gif(bound(creative, left))
        assert length(data) == 1
        assert distance(next(frames(data)), ended) < 2
    running = compose(bound(creative, 61), {}, size, False, fonts())
    assert distance(running, ended) > 5


@pytest.mark.feature("EC-19")
@pytest.mark.parametrize("creative", COUNTING, ids=lambda creative: creative.name)
def test_it_stays_within_the_ceiling_and_sends_only_the_digits_that_change(creative: Creative) -> None:
    photo, name = blob(photograph(900, 900))
    data = gif(bound(creative, 3 * DAY, **{"product.picture": name}), assets={name: photo})
    assert len(data) <= CEILING
    assert next(frames(data)).size == (2 * creative.width, 2 * creative.height)
    for left, dark in ((3 * DAY, True), (30, False)):
        assert len(gif(bound(creative, left), dark)) <= CEILING
    resolved = bound(creative, 3 * DAY)
    data, places = gif(resolved), face_of(resolved).places
    assert len(data) <= CEILING
    with opened(data) as image:
        assert image.info["version"] == b"GIF89a"
        assert "loop" not in image.info  # Played again, it would count the same minute twice.
        for number in range(1, image.n_frames):
            image.seek(number)
            assert image.info["duration"] == 1000
            extents = image.tile[0].extents
            assert extents is not None
            left, top, right, bottom = extents
            assert (right - left) * (bottom - top) < 0.1 * image.width * image.height
            assert min(place[0] for place in places) <= left < right <= max(place[2] for place in places)
            assert min(place[1] for place in places) <= top < bottom <= max(place[3] for place in places)


def test_it_gives_up_colours_then_frames_before_it_passes_a_low_ceiling() -> None:
    resolved = bound(DESIGN, 3 * DAY)
    face = face_of(resolved)
    for ceiling in (50_000, 40_000):
        data = gif(resolved, max_bytes=ceiling)
        assert len(data) <= ceiling
        assert read(face, next(frames(data))) == "03000000"
    assert gif(resolved, max_bytes=1)


def test_it_draws_what_is_left_in_a_format_that_cannot_move() -> None:
    resolved = bound(DESIGN, 100)
    data = draw(resolved, {}, HERO, "png", False, fonts(), 1_000_000)
    assert read(face_of(resolved), Image.open(io.BytesIO(data))) == "000140"


def test_it_reads_days_hours_minutes_and_seconds() -> None:
    assert [reading(left, 0) for left in (0, 59, 60, HOUR, DAY - 1)] == [
        "000000", "000059", "000100", "010000", "235959",
    ]  # fmt: skip
    assert reading(DAY, 2) == "01000000"
    assert reading(10**9, 3) == f"{MAX_DAYS}235959"


@pytest.mark.parametrize("locale", ["ar", "he-IL"])
def test_it_counts_from_right_to_left_where_people_read_so(locale: str) -> None:
    resolved = bound(DESIGN, 5 * DAY + HOUR, locale)
    face = face_of(resolved)
    days, seconds = face.places[0], face.places[-1]
    assert days[0] > seconds[2]
    assert face.places[0][0] < face.places[1][0]  # The digits of a number still run from the left.
    assert [read(face, frame) for frame in islice(frames(gif(resolved)), 2)] == ["05010000", "05005959"]


def test_it_names_units_and_hours_in_the_language_of_the_reader() -> None:
    assert unit_names("de-AT") == ("Tage", "Stunden", "Minuten", "Sekunden")
    assert unit_names("ja") == ("日", "時間", "分", "秒")
    at_ms = NOON_MS
    assert local_time(at_ms, "America/New_York", "en-US") == "Mon, Mar 2, 7:00\u00a0AM"
    assert local_time(at_ms, "Europe/Vienna", "de-DE") == "Mo., 2. März, 13:00"
    assert local_time(at_ms, "Asia/Tokyo", "en-GB") == "Mon 2 Mar, 21:00"
    for nowhere in ("", "Mars/Olympus", "../../etc/passwd"):
        assert local_time(at_ms, nowhere, "en-GB") == "Mon 2 Mar, 12:00\u00a0UTC"
    assert local_time(-1, "", "en") == local_time(10**18, "", "en") == local_time(MAX_MS, "Asia/Tokyo", "en") == ""


def test_it_holds_the_calendars_of_known_languages_only() -> None:
    assert str(calendar_locale("tlh-KLINGON")) == str(calendar_locale("")) == "en"
    assert str(calendar_locale("zh-TW")) == str(calendar_locale("zh_Hant")) == "zh_Hant"
    assert str(calendar_locale("de-XX")) == "de"
    assert all(all(unit_names(language)) for language in LANGUAGES)


def test_it_takes_an_instant_as_unix_ms_or_with_its_offset() -> None:
    assert instant(str(NOON_MS)) == instant(NOON.isoformat()) == instant("2026-03-02T13:00:00+01:00") == NOON_MS
    for unclear in ("", "tomorrow", "2026-03-02", "2026-03-02T12:00", "-5", "1.5"):
        assert instant(unclear) is None


def test_it_claims_nothing_where_the_end_or_the_time_is_not_known() -> None:
    without = resolve(DESIGN, {}, at_ms=NOON_MS)
    assert without.layers == resolve(DESIGN, {"offer.ends_ms": NOON_MS}).layers
    assert countdown_of(without.layers) is None


COLUMN = Column(Box(0, 0, 600, 300), (Countdown(),))
OVER: tuple[Layer, ...] = (Background(),)


@pytest.mark.parametrize(
    ("layers", "over", "field"),
    [
        ((COLUMN,), (), r"creative\.over"),
        ((Background(),), OVER, r"creative\.over"),
        ((COLUMN, COLUMN), OVER, r"creative\.layers\[1\]\.items\[0\]"),
        ((COLUMN,), (COLUMN,), r"creative\.over\[0\]\.items\[0\]"),
        ((COLUMN,), (Column(Box(0, 0, 900, 10), (Text("x"),)),), r"creative\.over\[0\]\.box"),
        ((Column(Box(0, 0, 600, 300), (Countdown(label="red"),)),), OVER, r"items\[0\]\.label"),
    ],
)
def test_it_names_what_is_wrong_with_a_design_that_counts_down(
    layers: tuple[Layer, ...], over: tuple[Layer, ...], field: str
) -> None:
    with pytest.raises(InvalidInput, match=field):
        check(Creative(1, "bad", 600, 300, layers, over=over))


def counting(fmt: str = "gif", ends: timedelta | None = timedelta(hours=30), clock_bound: bool = True) -> Plan:
    """The shoe shop's plan; its discount counts down."""
    changes: dict[str, object] = {"clock_bound": clock_bound, "creative": DESIGN.id}
    if ends is not None:
        changes["ends_ms"] = NOON_MS + int(ends.total_seconds()) * 1000
    plain = plan()
    offers = tuple(replace(one, **changes) if one.id == DISCOUNT else one for one in plain.offers)
    slots = tuple(replace(slot, fmt=fmt, width=600, height=300) for slot in plain.slots)
    return replace(plain, offers=offers, slots=slots, creatives=(*plain.creatives, DESIGN))


@pytest.mark.feature("EC-19")
def test_it_refuses_to_publish_what_could_not_count_down() -> None:
    assert validate(counting()) == []
    for fmt in ("jpg", "png"):
        (fault,) = validate(counting(fmt))
        assert fault == f"slots[0].fmt: is {fmt}, yet the offer 'discount' counts down; such a slot must be gif"
    assert [fault.split(":")[0] for fault in validate(counting(ends=None))] == ["offers[0].ends_ms"]
    assert [fault.split(":")[0] for fault in validate(counting(clock_bound=False))] == ["offers[0].clock_bound"]


def test_it_refuses_webp_in_a_mail_and_takes_it_on_a_web_page() -> None:
    plain = plan()
    web = replace(plain, slots=tuple(replace(slot, fmt="webp") for slot in plain.slots))
    assert [fault.split(",")[0] for fault in validate(web)] == ["slots[0].fmt: is webp"]
    assert validate(replace(web, channel="web")) == []


def seen(client: FlaskClient, mail: Mail, agent: str | None = None) -> bytes:
    answer = client.get(mail.url(), headers=browser(agent=agent) if agent else browser())
    assert (answer.status_code, answer.content_type) == (200, "image/gif")
    return bytes(answer.data)


@pytest.mark.feature("EC-19")
def test_it_counts_down_to_the_second_over_every_fetch_of_one_open(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(counting())
    first = seen(client, mail)
    face = face_of(resolve(DESIGN, mail.lane().chosen[0].fields, at_ms=NOON_MS))
    noon.advance(timedelta(milliseconds=700))
    assert seen(client, mail) == first
    noon.advance(timedelta(seconds=10))
    later = seen(client, mail)
    assert read(face, next(frames(first))) == reading(30 * HOUR, 2)
    assert read(face, next(frames(later))) == reading(30 * HOUR - 10, 2)
    assert len(mail.decisions()) == 1
    assert mail.fetches()[-1].body == later


@pytest.mark.feature("EC-19")
def test_it_shows_another_offer_once_the_counted_one_has_ended(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(counting(ends=timedelta(seconds=20)))
    assert length(seen(client, mail)) == 21
    noon.advance(timedelta(seconds=20))
    assert length(seen(client, mail)) == 1
    assert [decision.slots[0].offer == DISCOUNT for decision in mail.decisions()] == [True, False]


@pytest.mark.feature("EC-14")
@pytest.mark.parametrize("agent", [APPLE, SCANNER])
def test_it_gives_no_countdown_to_whoever_may_be_a_machine(client: FlaskClient, mail: Mail, agent: str) -> None:
    mail.publish(counting(ends=timedelta(days=30)))
    assert length(seen(client, mail, agent)) == 1
    assert mail.decisions()[0].slots[0].offer != DISCOUNT
    mail.delivery = Delivery(4712, 7, 1)
    mail.know(state())
    assert length(seen(client, mail, GMAIL)) == 61


def test_it_writes_the_hour_where_the_recipient_lives(client: FlaskClient, mail: Mail) -> None:
    mail.publish(counting())
    shown = []
    for arrival, zone in enumerate(("Europe/Vienna", "America/New_York"), start=1):
        told: dict[str, str | float | int | bool | None] = {"timezone": zone}
        event = FoldEvent(time_ms=SENT_MS, message_id=zone, kind="traits", traits=told, arrival=arrival)
        mail.know(fold_all([event]))
        shown.append(seen(client, mail))
        assert mail.lane().chosen[0].fields["profile.timezone"] == zone
    assert shown[0] != shown[1]
    assert mail.fetches()[0].is_personal
