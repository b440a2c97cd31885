"""Handing the mails of a batch over to the relay, and telling a refusal of the person from a refusal of us.

Text and push messages are handed to their gateway in the same way; it stands for the relay then.

The relay's refusal of our sender address is ours at once. At a recipient it may be either's (see `replies.concern`): it
waits until the end of its group. A mail that is taken after it shows that the relay takes ours, so it was the person's;
STREAK of them in a row, or a policy's where nothing of the campaign was taken lately, are ours. Then nobody has failed:
the campaign's mails are held, and `troubles` says in the relay's words why. A gateway's 410 may mean the person or the
address that we call: it bars a number only if a message of the campaign is taken after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from base import logs
from base.clock import Clock, monotonic
from base.errors import DeliveryFailure, PermanentFailure, TemporaryFailure, UnknownOutcome
from campaigns.channels import PUSH
from campaigns.compose import Built
from campaigns.deliveries import HOLD, NO_ANSWER, RELAY_AWAY, RELAY_REFUSES, Claimed, Settled
from campaigns.permits import Granted
from workers.relay import Unreachable
from workers.replies import Concern, concern, is_dead_address
from workers.transport import ANSWER_SECONDS, AddressGone, AddressNotTaken, SenderRefused

MAX_TRIES: Final = 8
FIRST_DELAY: Final = timedelta(minutes=1)
MAX_DELAY: Final = timedelta(hours=4)
RELAY_DELAY: Final = timedelta(seconds=30)
"""Until a relay is tried again that was away; one that refuses us is left alone for REFUSED_DELAY."""
REFUSED_DELAY: Final = timedelta(minutes=5)
STREAK: Final = 10
_log = logs.logger(__name__)


@dataclass(frozen=True)
class Ready:
    """A claimed row with its mail: `sender` is the envelope's address, `domain` the one in From.

    A message for a gateway has that one's number and neither of the two.
    """

    row: Claimed
    mail: Built
    sender: str
    domain: str
    facts_hash: bytes | None
    gateway: int | None = None


Hand = Callable[[Ready], str]
"""Hands one mail over and returns the answer; raises the DeliveryFailures of Transport.hand_over."""


class Handover:
    """What of one batch goes the same way. `is_taken_lately` says of a campaign whether a mail of it was taken lately,
    `is_held` whether the rows are still surely this sender's.

    `tried` are the rows that a relay was asked about, `granted` the permit of the group that is being handed over.
    """

    def __init__(
        self, hand: Hand, clock: Clock, is_taken_lately: Callable[[int], bool], is_held: Callable[[], bool]
    ) -> None:
        self._hand_one = hand
        self._clock = clock
        self._is_taken_lately = is_taken_lately
        self._is_held = is_held
        self._doubts: dict[int, list[tuple[Ready, DeliveryFailure]]] = {}
        self.away: str | None = None
        self._away_for = RELAY_DELAY
        self.troubles: dict[int, str] = {}
        self.taken: set[int] = set()
        self.dead: dict[bytes, str] = {}
        self.tried: set[int] = set()
        self.granted = Granted(None, {})

    def group(self, group: Sequence[Ready], started: float, outcomes: list[Settled]) -> None:
        """Hand over the mails of a group that was marked at `started`, adding to `outcomes` as each is known."""
        waiting = list(group)
        try:
            # The claim could run out while the server thinks: what is not begun in time goes back.
            while waiting and self.away is None and self._is_held():
                if monotonic() - started > HOLD.total_seconds() - ANSWER_SECONDS:
                    break
                self._hand(waiting.pop(0), outcomes)
        finally:
            # Also when something unforeseen ends the loop: only the mail that met it is in doubt.
            outcomes += [self._untried(item) for item in waiting]
            outcomes += self._doubts_ended()

    def sift(self, items: Sequence[Ready], outcomes: list[Settled]) -> list[Ready]:
        """Those that may still be tried; the others are held."""
        left = []
        for item in items:
            if self.away is not None or (item.row.key.campaign in self.troubles and not item.row.key.is_test):
                outcomes.append(self._untried(item))
            else:
                left.append(item)
        return left

    def _hand(self, item: Ready, outcomes: list[Settled]) -> None:
        campaign, is_test = item.row.key.campaign, item.row.key.is_test
        if campaign in self.troubles and not is_test:
            outcomes.append(self._untried(item))
            return
        self.tried.add(item.row.id)
        try:
            reply = self._hand_one(item)
        except AddressNotTaken as error:
            self.tried.discard(item.row.id)
            outcomes.append(Settled(item.row.id, item.row.fence, "failed", error.reply, counted=False))
        except UnknownOutcome as error:
            outcomes.append(self._settled(item, "unknown", NO_ANSWER, error.reply))
        except Unreachable as error:
            _log.warning("relay unreachable", reason=error.reply)
            self.away = error.reply
            self.tried.discard(item.row.id)
            outcomes.append(self._untried(item))
        except (PermanentFailure, TemporaryFailure) as error:
            self._leave_alone(error)
            # A test is the tester's alone: it speaks for no other mail, and is given up in the end.
            whom = Concern.RECIPIENT if is_test else self._concern(error)
            if whom is Concern.RECIPIENT:
                outcomes.append(self._verdict(item, error))
                return
            doubts = self._doubts.setdefault(campaign, [])
            doubts.append((item, error))
            if isinstance(error, SenderRefused) or len(doubts) >= STREAK:
                self._trouble(campaign, error)
        else:
            outcomes.append(self._settled(item, "accepted", None, reply))
            if not is_test:
                self.taken.add(campaign)
                outcomes += [self._verdict(*doubt, explained=True) for doubt in self._doubts.pop(campaign, [])]

    def _leave_alone(self, error: DeliveryFailure) -> None:
        """Try nothing more for as long as the other side asks for, where it does; who met it has been tried."""
        if isinstance(error, TemporaryFailure) and error.retry_after:
            self.away = error.reply
            self._away_for = max(RELAY_DELAY, timedelta(seconds=error.retry_after))

    @staticmethod
    def _concern(error: DeliveryFailure) -> Concern:
        return Concern.US if isinstance(error, SenderRefused) else concern(error.reply)

    def _trouble(self, campaign: int, error: DeliveryFailure) -> None:
        _log.warning("relay refuses us", campaign=campaign, reason=error.reply)
        self.troubles[campaign] = error.reply

    def _doubts_ended(self) -> list[Settled]:
        """The verdicts on the refusals that nothing has explained by the end of the group."""
        ended = []
        for campaign, doubts in self._doubts.items():
            policy = [error for _, error in doubts if self._concern(error) is Concern.US]
            is_explained = campaign in self.troubles or campaign in self.taken
            if policy and not is_explained and not self._is_taken_lately(campaign):
                self._trouble(campaign, policy[-1])
            for item, error in doubts:
                if campaign in self.troubles:
                    ended.append(self._deferred(item, RELAY_REFUSES, REFUSED_DELAY, error.reply))
                elif error in policy:
                    ended.append(self._put_off(item, error))
                else:
                    ended.append(self._verdict(item, error))
        self._doubts.clear()
        return ended

    def _verdict(self, item: Ready, error: DeliveryFailure, *, explained: bool = False) -> Settled:
        """What a refusal means that concerns this person alone; `explained` by one that was taken after it."""
        if not error.permanent:
            return self._put_off(item, error)
        # A test address is not a customer's. A user id stays theirs, whatever devices they have just now.
        is_dead = (explained and isinstance(error, AddressGone)) or is_dead_address(error.reply)
        if is_dead and item.row.channel != PUSH and item.row.address_hash is not None and not item.row.key.is_test:
            self.dead[item.row.address_hash] = error.reply
        return self._settled(item, "failed", "refused", error.reply)

    def _put_off(self, item: Ready, error: DeliveryFailure) -> Settled:
        """Tried again later, each time after a longer while, and not before it is asked for; given up in the end."""
        if item.row.attempts + 1 >= MAX_TRIES:
            return self._settled(item, "failed", f"gave up after {MAX_TRIES} tries", error.reply)
        delay = min(FIRST_DELAY * 4**item.row.attempts, MAX_DELAY)
        if isinstance(error, TemporaryFailure):
            delay = max(delay, timedelta(seconds=error.retry_after))
        return self._deferred(item, "put off by the server", delay, error.reply, counted=True)

    def _untried(self, item: Ready) -> Settled:
        """One that was not tried, or in vain for no fault of its own: it does not count as a try, but for a test."""
        if self.away is not None:
            if item.row.key.is_test:
                return self._put_off(item, TemporaryFailure(self.away))
            return self._deferred(item, RELAY_AWAY, self._away_for, self.away)
        words = self.troubles.get(item.row.key.campaign)
        if words is not None and not item.row.key.is_test:
            return self._deferred(item, RELAY_REFUSES, REFUSED_DELAY, words)
        return self._deferred(item, "not begun in time", timedelta())

    def _settled(self, item: Ready, state: str, reason: str | None, reply: str | None) -> Settled:
        return Settled(
            item.row.id, item.row.fence, state, reason, reply, item.mail.message_id, item.facts_hash, None,
            self._clock.now() if state == "accepted" else None, counted=True,
        )  # fmt: skip

    def _deferred(
        self, item: Ready, reason: str, delay: timedelta, reply: str | None = None, *, counted: bool = False
    ) -> Settled:
        later = self._clock.now() + delay
        return Settled(item.row.id, item.row.fence, "deferred", reason, reply, None, None, later, None, counted=counted)
