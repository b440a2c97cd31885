"""The open: from a picture's URL to the picture, whatever happens on the way.

It reads from top to bottom: token, live, plan, facts, decide, reserve and agree, draw, record, respond. Under each step
stands what happens when it fails. A valid token always ends in a picture of its size with status 200.
"""

from __future__ import annotations

from collections.abc import Mapping

from base.clock import monotonic
from base.errors import BadToken, Unavailable
from base.logs import logger
from base.tokens import Purpose, Token
from render import respond
from render.agree import Names
from render.anonymous import anonymous_open
from render.cache import Picture
from render.classify import Verdict, classify
from render.encode import CONTENT_TYPES
from render.fallback import Served
from render.fetch import Fetch, Open
from render.opening import Read
from render.parts import Parts
from render.permission import may_record
from render.pressure import Step
from render.record import RepairRecord
from render.recording import answer_record, fetch_record
from render.respond import Answer
from signals.moments import unix_ms

Environ = Mapping[str, object]
KINDS = {Purpose.PICTURE: "picture", Purpose.PICTURE_DARK: "dark"}


def open_picture(parts: Parts, text: str, environ: Environ) -> Answer:
    """Answer `GET /o/<token>`; never raises."""
    started = monotonic()
    token = _token(parts, text)
    if token is None:
        return _neutral(parts)
    fetch = fetch_of(parts, token, KINDS[token.purpose], environ, started)
    try:
        served = serve(parts, fetch)
    except Exception as error:  # noqa: BLE001 - proxies keep errors for long, so a valid token never sees one
        logger(__name__).error("open failed", error=type(error).__name__, exc_info=error)
        parts.metrics.count("errors", value="open")
        parts.metrics.count("unrecorded")
        served = parts.ladder.static(fetch)
    parts.metrics.count("answers", value=served.rung)
    if fetch.step:
        parts.metrics.count("shed", value="model" if fetch.step is Step.NO_MODEL else "decision")
    parts.metrics.took(monotonic() - started)
    return respond.picture(served.picture)


def open_head(parts: Parts, text: str) -> Answer:
    """Answer `HEAD /o/<token>`: the type, without deciding, reading or recording anything."""
    token = _token(parts, text)
    if token is None:
        return respond.picture_head(parts.pictures.neutral().content_type)
    return respond.picture_head(CONTENT_TYPES[token.fmt])


def _token(parts: Parts, text: str) -> Token | None:
    """The token of a light or a dark picture: they share a path, and their purpose tells them apart."""
    for purpose in KINDS:
        try:
            return parts.tokens.read(text, purpose)
        except BadToken:
            continue
    return None


def serve(parts: Parts, fetch: Fetch) -> Served:
    """The picture of a fetch, with its record safe; what it raises, its caller answers with the static picture."""
    opened = find_open(parts, fetch)
    if opened is None:
        return _without_plan(parts, fetch)

    if not opened.is_recorded:
        note_unrecorded(parts, fetch, opened)
        return parts.ladder.default(fetch, opened)

    if opened.picture is not None:  # It was at hand, and went with the agreement: marked and recorded.
        _handed(parts, fetch, opened.picture)
        return Served(opened.picture, opened.rung("cached"), None)

    served = parts.ladder.best(fetch, opened)  # Late or failed: the default; that too: the static picture.

    sight = opened.sight(fetch, served.offer) if served.offer is not None else None
    made = answer_record(fetch, opened, served.picture, served.rung, served.offer)
    if not parts.opening.mark(fetch, opened, sight, made):
        # Neither stream nor disk took the record in time: nothing may be claimed. Should it be taken late, so is this.
        static = parts.ladder.static(fetch)
        parts.recorder.correct((answer_record(fetch, opened, static.picture, static.rung, static.offer),))
        return static
    if opened.is_anonymous:  # Its record has no bytes with it.
        parts.metrics.count("fetches", value=fetch.verdict.fetch_class)
    else:
        _handed(parts, fetch, served.picture)
    return served


def note_unrecorded(parts: Parts, fetch: Fetch, opened: Open) -> None:
    """Count a fetch that may not be written down; what was lost is asked for all the same."""
    parts.metrics.count("not_recorded")
    repairs = tuple(made for made in opened.records if isinstance(made, RepairRecord))
    if repairs:
        parts.recorder.accept(repairs, fetch.deadline)


def find_open(parts: Parts, fetch: Fetch) -> Open | None:
    """The open that a fetch belongs to, agreed by all processes; None where there is no plan to decide with.

    When no new one can be had, it is the last one while that still stands; when not even the person can be read, it is
    one of defaults, by the plan this process last held.
    """
    token = fetch.token
    if is_nobodys(parts, token, fetch.now_ms):
        return _shared(parts, fetch)

    running, personal = parts.lookup.read(token.campaign, fetch.names, fetch.now_ms)
    if personal is None:
        parts.metrics.count("unread")
    if running is None or running.plan is None:
        return None
    if running.plan.tracking == "none":
        # Mails sent before their campaign was no longer to be followed name the person still.
        return _shared(parts, fetch)
    plan = running.plan.shown_to(token.profile)
    if plan.tracking == "anonymous":
        return anonymous_open(parts, fetch, running, plan, personal)
    if personal is None:
        return parts.opening.unagreed(fetch, running, plan, "unread", None)

    read = Read(personal)
    try:
        return parts.opening.settle(
            fetch,
            running,
            plan,
            read,
            at_hand=lambda opened: parts.ladder.at_hand(fetch, opened) if fetch.is_picture else None,
            record_of=lambda opened, picture, rung: fetch_record(fetch, opened, picture, rung),
        )
    except Unavailable:
        parts.metrics.count("unagreed")
        reason = "unagreed"
    except Exception as error:  # noqa: BLE001 - below a decision that fails are the last one and the default
        logger(__name__).error("deciding failed", error=type(error).__name__, exc_info=error)
        parts.metrics.count("errors", value="decide")
        reason = "failed"
    last = parts.opening.last(fetch, running, plan, read, is_agreed=False)
    return last or parts.opening.unagreed(fetch, running, plan, reason, read.state)


def fetch_of(parts: Parts, token: Token, kind: str, environ: Environ, started: float) -> Fetch:
    """What a request asks for."""
    now = parts.now()
    now_ms = unix_ms(now)
    delivery = token.delivery
    return Fetch(
        token=token,
        delivery=delivery,
        kind=kind,
        names=Names.of(delivery),
        delivery_name=delivery.name,
        verdict=_verdict(parts, token, environ, now_ms),
        now=now,
        now_ms=now_ms,
        started=started,
        deadline=started + parts.deadline_seconds,
        step=parts.pressure.step(),
    )


def _verdict(parts: Parts, token: Token, environ: Environ, now_ms: int) -> Verdict:
    """The class of a request. Staff show themselves by a server's API key, which no mail client sends.

    A site key stands in web pages for everybody to read, and would let its reader look at capped offers for nothing.
    """
    is_staff = False
    if "HTTP_AUTHORIZATION" in environ:
        try:
            key = parts.keyring.read(str(environ["HTTP_AUTHORIZATION"]))
            is_staff = key is not None and key.kind == "server"
        except Unavailable:
            is_staff = False
    origin = parts.origins.features(environ, token.profile, now_ms)
    is_test, since = token.delivery.is_test, _seconds_since_send(token, now_ms)
    return classify(environ, is_test=is_test, is_staff=is_staff, seconds_since_send=since, origin=origin)


def _seconds_since_send(token: Token, now_ms: int) -> float | None:
    """Seconds since the mail was made, where its token knows.

    It is made before the server takes it, so this is never less than what hindsight reads in the ledger. Less than
    none is a clock that goes wrong, and tells nothing.
    """
    seconds = (now_ms - token.sent_ms) / 1000
    return seconds if token.knows_second and seconds >= 0 else None


def is_nobodys(parts: Parts, token: Token, now_ms: int) -> bool:
    """Whether it is known, without asking for anybody's keys, that this fetch is answered for nobody in particular."""
    if not token.profile:
        return True
    if not parts.lookup.was_unfollowed(token.campaign):
        return False
    running = parts.lookup.running(token.campaign, now_ms)  # It may have been published anew since.
    return running is None or running.plan is None or running.plan.tracking == "none"


def _shared(parts: Parts, fetch: Fetch) -> Open | None:
    """Tracking level none: the default for nobody in particular; no key of a person is read."""
    running = parts.lookup.running(fetch.token.campaign, fetch.now_ms)
    if running is None or running.plan is None:
        return None
    opened = parts.opening.unagreed(fetch, running, running.plan, "nobody", None)
    opened.is_recorded = False
    return opened


def _without_plan(parts: Parts, fetch: Fetch) -> Served:
    """There is no live key, or its plan is lost: the static picture, and a repair is asked for."""
    served = parts.ladder.static(fetch)
    running, personal = parts.lookup.read(fetch.token.campaign, fetch.names, fetch.now_ms)
    state = Read(personal).state if personal is not None else None
    if not fetch.token.profile or not may_record(state):
        parts.metrics.count("not_recorded")
        return served
    wanted = parts.opening.repairs.wanted(fetch, running, ())
    parts.recorder.accept((fetch_record(fetch, None, served.picture, served.rung), *wanted), fetch.deadline)
    _handed(parts, fetch, served.picture)
    return served


def _handed(parts: Parts, fetch: Fetch, picture: Picture) -> None:
    """The picture's record is safe, and its bytes with it."""
    picture.hand(fetch.now_ms)
    parts.metrics.count("fetches", value=fetch.verdict.fetch_class)


def _neutral(parts: Parts) -> Answer:
    """The answer to a token we did not mint: always the same, no look-up, its text not kept."""
    parts.metrics.count("forged")
    parts.metrics.count("answers", value="neutral")
    return respond.picture(parts.pictures.neutral())
