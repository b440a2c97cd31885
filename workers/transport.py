"""Handing a mail over to the relay by SMTP, and what its answer means.

Three verdicts: permanent (5yz: never again), temporary (4yz, or nothing was taken), unknown. Unknown is only what
happens after the final dot was sent and before the answer came: the server may have taken the mail or not, and nobody
can tell by asking again (RFC 1047). Decisions rest on the codes, never on the words.

Sender, recipient and DATA go out in one piece where the relay offers PIPELINING (RFC 2920), which saves two round trips
a mail; each still has an answer of its own.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator, Sequence
from typing import Final

from base.errors import PermanentFailure, TemporaryFailure, UnknownOutcome
from campaigns.deliveries import NO_SMTPUTF8
from workers.relay import COMMAND_SECONDS, Relay, Unreachable, connect, masked, words
from workers.replies import is_permanent

ANSWER_SECONDS: Final = 600.0
"""How long a server may think about a mail after the final dot (RFC 5321 §4.5.3.2.6)."""
MAILS_A_CONNECTION: Final = 1000
CLOSING: Final = 421
GO_AHEAD: Final = 354
_DOTS: Final = re.compile(rb"(?m)^\.")
_END: Final = b".\r\n"
_LOST: Final = (OSError, smtplib.SMTPException)
"""The connection broke, or what came over it was no reply."""
_DATA: Final = 2
"""The place of DATA after MAIL and RCPT."""
Answer = tuple[int, bytes]


class SenderRefused(TemporaryFailure):
    """The relay takes no mail from this sender address: no recipient was tried, so none has failed."""


class AddressNotTaken(PermanentFailure):
    """The relay cannot be told this address, so it was asked nothing; that does not say whether somebody is there."""


class AddressGone(PermanentFailure):
    """There is nobody at this address any more, by a word that is no mail server's code."""


class Transport:
    """One connection to the relay, made when needed and used again. For one thread."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._connection: smtplib.SMTP | None = None
        self._sent = 0

    def hand_over(self, sender: str, recipient: str, content: bytes) -> str:
        """Hand one mail to the relay and return its answer; `content` has CRLF line ends.

        Raises PermanentFailure, TemporaryFailure or UnknownOutcome; of the temporary ones, Unreachable when there is no
        session and SenderRefused when the relay does not take the sender; of the permanent ones, AddressNotTaken.
        """
        connection = self._begin(sender, recipient, len(content))
        try:
            self._send(connection, _DOTS.sub(b"..", content) + _END)
        except _LOST as error:
            self.close()
            raise TemporaryFailure(f"connection lost before the end of the mail: {words(error)}") from error
        try:
            self._wait_at_most(connection, ANSWER_SECONDS)
            code, text = connection.getreply()
            self._wait_at_most(connection, COMMAND_SECONDS)
        except _LOST as error:
            self.close()
            raise UnknownOutcome(f"connection lost after the mail was sent: {words(error)}") from error
        self._sent += 1
        if not 400 <= code < 600 and not _is_ok(code):
            self.close()
            raise UnknownOutcome(f"no reply that says what became of the mail: {_reply(code, text)}")
        return self._check(code, text)

    @staticmethod
    def _send(connection: smtplib.SMTP, data: bytes) -> None:
        """Send all of it. Raises OSError only while the last byte, the final dot's, has not been given to the system.

        `sendall` would not say how far it came; so a broken connection could mean anything.
        """
        if connection.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        rest = memoryview(data)
        while rest:
            rest = rest[connection.sock.send(rest) :]

    @staticmethod
    def _wait_at_most(connection: smtplib.SMTP, seconds: float) -> None:
        if connection.sock is not None:
            connection.sock.settimeout(seconds)

    def close(self) -> None:
        """Leave the relay; the next mail connects anew."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def quit(self) -> None:
        """Leave politely, if there is a connection."""
        if self._connection is not None:
            try:
                self._connection.quit()
            except _LOST:
                self.close()
            self._connection = None

    def _begin(self, sender: str, recipient: str, size: int) -> smtplib.SMTP:
        """MAIL, RCPT and DATA, until the relay waits for the mail.

        They are said again on a new connection if the old one turns out to be gone: nothing of the mail was sent yet.
        """
        fresh = self._connection is None
        connection = self._connected()
        lines = _envelope(connection, sender, recipient, size)
        answers: list[Answer] = []
        try:
            for code, text in _exchange(connection, lines):
                answers.append((code, text))
                if code == CLOSING:
                    break
        except _LOST as error:
            self.close()
            if _refused(answers) is None:
                # No refusal came before: the server went away, or a connection was found closed.
                if not fresh:
                    return self._begin(sender, recipient, size)
                if len(answers) < _DATA:
                    raise Unreachable(f"the relay does not answer: {words(error)}") from error
                raise TemporaryFailure(f"connection lost before the end of the mail: {words(error)}") from error
        if not fresh and answers[0][0] == CLOSING:
            # A server that was left waiting said good-bye before it was asked.
            self.close()
            return self._begin(sender, recipient, size)
        self._judge(answers)
        return connection

    def _judge(self, answers: Sequence[Answer]) -> None:
        """Raise the verdict of the first of the three commands that was refused, if one was."""
        refused = _refused(answers)
        if refused is None:
            return
        if len(answers) > _DATA and answers[_DATA][0] == GO_AHEAD:
            self._take_back(is_sender_taken=refused > 0)
        if refused > 0:
            reply = self._check(*answers[refused])
            # A yes that gives no leave to send. What comes next on this connection could be an answer to anything.
            self.close()
            raise TemporaryFailure(f"no leave to send the mail: {reply}")
        try:
            self._check(*answers[0])
        except (PermanentFailure, TemporaryFailure) as error:
            # A relay that will not take our sender says nothing of the recipient: nobody is tried.
            raise SenderRefused(error.reply) from error

    def _take_back(self, *, is_sender_taken: bool) -> None:
        """Get out of a DATA that was granted although nobody is to be sent anything.

        A mail without recipients is ended where it begins (RFC 2920 §3.1). A server that waits for the mail of a sender
        it has refused could do anything with it: it gets none.
        """
        if not is_sender_taken or self._connection is None:
            self.close()
            return
        try:
            self._send(self._connection, _END)
            self._connection.getreply()
        except _LOST:
            self.close()

    def _connected(self) -> smtplib.SMTP:
        if self._connection is not None and self._sent >= MAILS_A_CONNECTION:
            self.quit()
        if self._connection is None:
            self._connection = connect(self._relay)
            self._sent = 0
        return self._connection

    def _check(self, code: int, text: bytes) -> str:
        """The reply, if it says yes; else the verdict it means."""
        reply = _reply(code, text)
        if _is_ok(code):
            return reply
        if code == CLOSING:
            # The server is closing; what follows on this connection would fail for that alone.
            self.close()
        elif self._connection is not None:
            self._reset(self._connection)
        raise PermanentFailure(reply) if is_permanent(reply) else TemporaryFailure(reply)

    def _reset(self, connection: smtplib.SMTP) -> None:
        try:
            connection.rset()
        except _LOST:
            self.close()


def _envelope(connection: smtplib.SMTP, sender: str, recipient: str, size: int) -> list[bytes]:
    """The three commands before a mail. Raises AddressNotTaken for an address that this relay cannot be told."""
    options = f" SIZE={size}" if connection.has_extn("size") else ""
    if not recipient.isascii():
        if not connection.has_extn("smtputf8"):
            raise AddressNotTaken(NO_SMTPUTF8)
        # The mail holds the address as it is, so it is not ASCII either (RFC 6531 §3.4).
        options += " SMTPUTF8 BODY=8BITMIME"
    lines = [f"MAIL FROM:<{sender}>{options}", f"RCPT TO:<{recipient}>", "DATA"]
    if any(char in line for line in lines for char in "\r\n"):
        raise ValueError("an address with a line end")
    return [f"{line}\r\n".encode() for line in lines]


def _exchange(connection: smtplib.SMTP, lines: Sequence[bytes]) -> Iterator[Answer]:
    """The answers to these commands: all of them where they may go out together, else until one is not yes."""
    if connection.has_extn("pipelining"):
        connection.send(b"".join(lines))
        for _ in lines:
            yield connection.getreply()
        return
    for line in lines:
        connection.send(line)
        code, text = connection.getreply()
        yield code, text
        if not _is_ok(code):
            return


def _is_ok(code: int) -> bool:
    return 200 <= code < 300


def _refused(answers: Sequence[Answer]) -> int | None:
    """Which of MAIL, RCPT and DATA (0 to 2) is the first that was refused; None where none of those answered was."""
    for number, (code, _) in enumerate(answers):
        if not (code == GO_AHEAD if number == _DATA else _is_ok(code)):
            return number
    return None


def _reply(code: int, text: bytes) -> str:
    return f"{code} {masked(text.decode('utf-8', 'replace'))}"
