"""`POST /v1/webhooks/<provider>`: bounces and complaints as a provider of mail tells them.

A call that cannot be shown to be the provider's is refused and counted. What is believed is in effect when the answer
is 200: the address gets no more mail. A repeated call changes nothing, so providers may try as often as they like.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from flask import Blueprint, Response, current_app, jsonify, request
from sqlalchemy.orm import Session

from base.clock import Clock
from base.db import transaction
from base.downloads import Downloads
from base.errors import BadToken, InvalidInput, NotFound
from base.ids import Delivery
from base.logs import logger
from base.returnpath import ReturnPaths
from base.settings import Settings
from signals import mailreports, providers, requests
from signals.identity import address_hash
from signals.intake import Intake
from signals.lanes import SMALL, Lanes
from signals.mailreports import Patience, Report
from signals.providers import Forged, Told
from signals.sns import Sns

FETCH_SECONDS: Final = 5.0
FETCH_BYTES: Final = 64_000
_log = logger("signals")
blueprint = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")


class Webhooks:
    """What the calls of providers are read and settled with. `fetch` gets what SNS's certificates lie at."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        clock: Clock,
        lanes: Lanes,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._clock = clock
        self._lanes = lanes
        self._paths = ReturnPaths.from_settings(settings)
        self._patience = Patience.of(settings)
        guarded = Downloads(named="SNS", seconds=FETCH_SECONDS, max_bytes=FETCH_BYTES, redirects=0)
        self._sns = Sns(settings.ses_topics, fetch or guarded.get)

    def take(self, provider: str) -> dict[str, int]:
        """Settle the present request: how many events were new, known, or of no address. Raises NotFound, Forged, …"""
        if provider not in providers.PROVIDERS or not getattr(self._settings, providers.PROVIDERS[provider]):
            raise NotFound("webhook", provider)
        with self._lanes.small():
            body = requests.body_of(request)
            try:
                told = self._read(provider, body)
            except (Forged, InvalidInput) as error:
                self._count(provider, error)
                raise
        with self._lanes.small() if len(told) <= SMALL else self._lanes.large():
            return self._intake.settle(partial(self._settle, provider, told))

    def _read(self, provider: str, body: bytes) -> list[Told]:
        settings, heads = self._settings, request.headers
        match provider:
            case "ses":
                return self._sns.read(body)
            case "sendgrid":
                signature = heads.get("X-Twilio-Email-Event-Webhook-Signature", "")
                timestamp = heads.get("X-Twilio-Email-Event-Webhook-Timestamp", "")
                return providers.sendgrid(body, signature, timestamp, settings.sendgrid_key)
            case "mailgun":
                return providers.mailgun(body, settings.mailgun_key, self._clock.now())
            case _:
                given = request.authorization
                shown = f"{given.username}:{given.password}" if given is not None and given.type == "basic" else ""
                return providers.postmark(body, settings.postmark_secret, shown)

    def _settle(self, provider: str, told: list[Told], session: Session) -> dict[str, int]:
        now = self._clock.now()
        counts = {"taken": 0, "repeated": 0, "unreadable": 0}
        # In one order, so that two calls about the same addresses do not wait for each other in a circle.
        for one in sorted(told, key=lambda one: one.address):
            mail = self._mail(one)
            try:
                hashed = address_hash(self._settings.hash_key, one.address)
            except InvalidInput:
                mailreports.tally(session, provider, "unreadable", now)
                counts["unreadable"] += 1
                continue
            report = Report(
                kind=one.kind, via=provider, name=one.name, at=one.at or now, mail=mail,
                address_hash=None if mail is not None and mail.is_test else hashed,
                message_id=one.message_id, status=one.status, words=one.words, proof=one.proof,
            )  # fmt: skip
            is_new = mailreports.take(session, report, self._patience, now)
            counts["taken" if is_new else "repeated"] += 1
        return counts

    def _mail(self, told: Told) -> Delivery | None:
        try:
            return self._paths.read(told.sender or "")
        except BadToken:
            return None

    def _count(self, provider: str, error: Forged | InvalidInput) -> None:
        outcome: mailreports.Outcome = "forged" if isinstance(error, Forged) else "unreadable"
        _log.warning("webhook refused", provider=provider, outcome=outcome)
        with transaction(self._intake.sessions) as session:
            mailreports.tally(session, provider, outcome, self._clock.now())


@blueprint.post("/<provider>")
def take(provider: str) -> Response:
    """Take a provider's call. 403 when it cannot be shown to be the provider's."""
    webhooks: Webhooks = current_app.extensions["webhooks"]
    return jsonify(success=True, **webhooks.take(provider))
