"""The errors of Latebind, a short tree. The raiser says what went wrong and whether trying again can help.

LatebindError
├── SettingError        a LATEBIND_* variable is missing or bad; the start stops and the message names it
├── StartError          the system cannot start; the message is one line for a person at a terminal
├── InvalidInput        a caller sent something wrong; names the field
├── BadToken            a token is forged, truncated or meant for another purpose; says nothing more on purpose
├── NotFound            there is no such thing
│   └── Expired             there was, and the time for keeping it is over
├── Forbidden           the caller may not do this
├── Conflict            the thing is not in a state that allows this
├── Unavailable         a part we need is away; carries the seconds after which trying again makes sense
│   ├── Busy                it is there, but has no room just now
│   └── Refused             the database does not do this one thing, and goes on with others
└── DeliveryFailure     a mail could not be handed over
    ├── PermanentFailure    trying again cannot help
    ├── TemporaryFailure    trying again later may help
    └── UnknownOutcome      the other side may or may not have taken it; only a person can settle it
"""

from __future__ import annotations

from typing import Final

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding raises of bytes that are not what was stored: msgspec's errors, and the codec's of damaged text."""


class LatebindError(Exception):
    """The root of the tree; `str(error)` is a sentence a person can act on."""


def reason(error: Exception) -> str:
    """Why something failed, for a person; of what is not ours only the kind: a database's words may hold an address."""
    if isinstance(error, Refused) and isinstance(error.__cause__, Exception):
        return reason(error.__cause__)
    if isinstance(error, LatebindError):
        return str(error)
    refusal = getattr(error, "orig", None)
    kind = type(refusal or error).__name__
    return f"the database refused it: {kind}" if refusal else f"it failed: {kind}"


class SettingError(LatebindError):
    """A setting is missing or malformed. `variable` is its environment name; the bad value is not repeated."""

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(f"{variable}: {message}")
        self.variable = variable


class StartError(LatebindError):
    """A precondition of starting does not hold; the message is one line."""


class InvalidInput(LatebindError):
    """Input breaks its contract. `field` is a path such as `batch[3].properties.price`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


def no_json(error: Exception) -> str:
    """What a decoder says of text that is no JSON, to stand after its subject: "not valid JSON: …"."""
    return f"not valid JSON: {str(error).removeprefix('JSON is malformed: ')}"


class BadToken(LatebindError):
    """A token could not be authenticated for this purpose. The token itself is never kept in the error."""

    def __init__(self) -> None:
        super().__init__("The token is not valid for this purpose.")


class NotFound(LatebindError):
    """`what` names the kind of thing, `name` the one that is missing."""

    def __init__(self, what: str, name: object = "") -> None:
        super().__init__(f"There is no {what} {name}.".replace(" .", "."))
        self.what = what
        self.name = name


class Expired(NotFound):
    """`what` was kept, and is not any more."""

    def __init__(self, what: str, name: object = "") -> None:
        super().__init__(what, name)
        self.args = (f"{what[:1].upper()}{what[1:]} has expired: the time for keeping it is over.",)


class Forbidden(LatebindError):
    """The caller is known but may not do this."""


class Conflict(LatebindError):
    """The request is well-formed but the thing's present state rules it out."""


class Unavailable(LatebindError):
    """A part we depend on does not answer. `retry_after` is in whole seconds, at least 1."""

    word = "not available"

    def __init__(self, part: str, retry_after: int = 1) -> None:
        super().__init__(f"{part} is {self.word}; try again in {retry_after} s.")
        self.part = part
        self.retry_after = max(1, retry_after)


class Busy(Unavailable):
    """A part is there and has too much to do just now."""

    word = "busy"


class Refused(Unavailable):
    """The database does not do this one thing: it is too large, too complex or too slow. Others are done."""

    word = "out of room or time for this"


class DeliveryFailure(LatebindError):
    """A mail was not handed over. `reply` is the server's answer without addresses."""

    permanent = False

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


class PermanentFailure(DeliveryFailure):
    """The server refused for good (5xx)."""

    permanent = True


class TemporaryFailure(DeliveryFailure):
    """The server asks to come back later (4xx), or could not be reached before anything was sent.

    `retry_after` are the seconds for which it asks to be left alone, by everybody; 0 where it does not.
    """

    def __init__(self, reply: str, retry_after: int = 0) -> None:
        super().__init__(reply)
        self.retry_after = retry_after


class UnknownOutcome(DeliveryFailure):
    """The connection broke after the message was sent and before the answer: it may have been taken."""
