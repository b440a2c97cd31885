"""Handing a text or push message over to its gateway by one signed call, and what the answer means.

The verdicts are those of mail: permanent, temporary, unknown, and ours. Unknown is what happens after the last byte of
the call was given to the network, until a status comes that says yes or no: the gateway may have taken the message or
not. A status of a proxy before it, or of one that broke down over the message, says neither; unlike a mail server's 4yz
it does not mean "not taken".

The call names the delivery in `webhook-id` and `Idempotency-Key`, the same at every attempt, so a gateway that keeps to
it passes on nothing twice even when a person has such a message sent again. Its links are the same too; the fields that
it prints are those of the moment, so an attempt can differ from an earlier one, which such a gateway refuses by 422
(draft-ietf-httpapi-idempotency-key-header). That tells that it knows the key and not that nobody got the message: after
an attempt in doubt it stays unknown. Keeping the first attempt's bytes instead would mean a sealed copy of what each
person was written, with erasure and expiry of its own, for the few who change between two attempts.
"""

from __future__ import annotations

import email.policy
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Final

from base.clock import Clock
from base.downloads import Answered, Unanswered, Unreached
from base.errors import InvalidInput, PermanentFailure, TemporaryFailure, UnknownOutcome
from campaigns.compose import Built
from campaigns.gateways import Calling
from workers.exporting import signed
from workers.relay import Unreachable, masked
from workers.transport import AddressGone, SenderRefused, Transport

CALL_SECONDS: Final = 30.0
"""For a whole call, its answer included."""
SLOW_DOWN: Final = 30
"""Seconds that a gateway is left alone which says that it is asked too much and not for how long."""
MAX_RETRY_AFTER: Final = 86_400
_OURS: Final = frozenset((401, 402, 403, 404, 405, 407, 421))
"""The gateway refuses us, our account or our address for it, whoever the message is for; so does a redirect."""
_TEMPORARY: Final = frozenset((409, 423, 425, 429, 503))
"""Surely not taken, and may be later. Every other 5xx is as 500 (RFC 9110 §15)."""
_NO_WORD: Final = 408
_OTHER_BODY: Final = 422
_GONE: Final = 410
_TOO_MANY: Final = 429
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
"""What no header of a mail may hold, and a user id may."""
_SECRET: Final = re.compile(r"\+?\d[\d ()/-]{4,}\d|[A-Za-z0-9_:-]{24,}")
"""What could be a number, a token or a key in a gateway's words."""
Call = Callable[[str, bytes, Mapping[str, str]], Answered]


class Gateway:
    """Calls one gateway, for the time of a batch. `call` is Downloads.call: nothing else may follow its address."""

    def __init__(self, calling: Calling, clock: Clock, call: Call) -> None:
        self._calling = calling
        self._clock = clock
        self._call = call
        self._silent = ""

    def hand_over(self, message: Built, *, in_doubt: bool = False) -> str:
        """Hand one message over and return the answer; `in_doubt` says that an earlier attempt may have been taken.

        Raises PermanentFailure, TemporaryFailure or UnknownOutcome, and of these Unreachable, SenderRefused and
        AddressGone as a relay's transport does. After a call without an answer, or with one that says neither yes nor
        no, nothing more of the batch is tried: the gateway would leave every message of it in doubt.
        """
        if self._silent:
            raise Unreachable(self._silent)
        now = self._clock.now()
        name = message.message_id
        headers = signed(self._calling.secret, name, int(now.timestamp()), message.content)
        try:
            answer = self._call(self._calling.url, message.content, {**headers, "Idempotency-Key": name})
        except Unanswered as error:
            self._silent = f"the gateway did not answer: it {error.message}"
            raise UnknownOutcome(f"no answer after the message was sent: the gateway {error.message}") from None
        except Unreached as error:
            raise Unreachable(f"the gateway {error.message}") from None
        except InvalidInput as error:
            raise SenderRefused(f"the gateway’s address {error.message}") from None
        if not _says(answer.status):
            self._silent = f"the gateway did not say what became of a message: {_reply(answer)}"
        return _verdict(answer, now, in_doubt=in_doubt)


class DryGateway:
    """What takes the messages of every gateway in a dry run: the embedded sink of mails, as a mail each."""

    def __init__(self, transport: Transport, sender: str) -> None:
        self._transport = transport
        self._sender = sender

    def hand_over(self, message: Built) -> str:
        """Hand one message over as a mail; raises as Transport.hand_over does."""
        told = json.loads(message.content)
        mail = EmailMessage(policy=email.policy.SMTP)
        # Who it is for stands in the text: a number or a user id is no mailbox.
        mail["From"], mail["To"] = self._sender, f"{told['channel']}@gateway.invalid"
        mail["Subject"] = f"To {_CONTROLS.sub('?', message.recipient)}".encode("ascii", "replace").decode()
        mail["Message-ID"] = f"<{message.message_id}@gateway.invalid>"
        mail.set_content(
            "\n\n".join(str(told[name]) for name in ("to", "title", "text", "url", "image") if name in told)
        )
        return self._transport.hand_over(self._sender, f"{told['channel']}@gateway.invalid", mail.as_bytes())


def _says(status: int) -> bool:
    """Whether a status says that the message was taken, or that it was not."""
    return (200 <= status < 500 and status != _NO_WORD) or status in _TEMPORARY


def _verdict(answer: Answered, now: datetime, *, in_doubt: bool) -> str:
    """The reply of an answer that says yes; else raises what it means."""
    status, reply = answer.status, _reply(answer)
    if 200 <= status < 300:
        return reply
    if not _says(status):
        raise UnknownOutcome(f"no status that says what became of the message: {reply}")
    if in_doubt and status == _OTHER_BODY:
        raise UnknownOutcome(f"an earlier attempt may have been taken: {reply}")
    if status in _OURS or status < 400:
        raise SenderRefused(reply)
    if status in _TEMPORARY:
        least = SLOW_DOWN if status == _TOO_MANY else 0
        raise TemporaryFailure(reply, max(least, _seconds(answer.retry_after, now)))
    raise AddressGone(reply) if status == _GONE else PermanentFailure(reply)


def _reply(answer: Answered) -> str:
    """The answer on one line, without what could name a person. It never begins as a mail server's code does."""
    words = _SECRET.sub("…", masked(answer.words.decode("utf-8", "replace")))
    return f"HTTP {answer.status}: {words}" if words else f"HTTP {answer.status}"


def _seconds(retry_after: str | None, now: datetime) -> int:
    """What Retry-After asks for, in seconds from now (RFC 9110 §10.2.3), a day at most; 0 without a sound one."""
    text = (retry_after or "").strip()[:64]
    if text.isascii() and text.isdigit():
        return min(int(text), MAX_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(0, round((at - now).total_seconds())), MAX_RETRY_AFTER)
