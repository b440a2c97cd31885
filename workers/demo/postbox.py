"""The mails as they arrived: read from the inbox over HTTP, as a client that collects its post does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from base.errors import StartError
from workers.demo.opens import Answer, Mail, MailClients, read_mail

_PAGE: Final = 1000
_SILENT: Final = {"User-Agent": "postbox"}


class Postbox:
    """The inbox of everybody at example.com."""

    def __init__(self, inbox_url: str) -> None:
        self._url = inbox_url
        self._clients = MailClients(inbox_url, connections=4)

    def newest(self) -> int:
        """The number of the newest mail; 0 when there is none."""
        listed = self._list(0, 1)
        return int(listed[0]["number"]) if listed else 0

    def since(self, number: int, wanted: Callable[[Mail], bool] = lambda mail: True) -> list[Mail]:
        """The mails that came after `number`, the oldest first."""
        numbers: list[int] = []
        before = 0
        while page := self._list(before, _PAGE):
            numbers += [entry["number"] for entry in page if entry["number"] > number]
            before = page[-1]["number"]
            if before <= number:
                break
        waiting = [self._clients.fetch(f"{self._url}/mail/{one}/raw", _SILENT) for one in sorted(numbers)]
        mails = [read_mail(_body(future.result())) for future in waiting]
        return [mail for mail in mails if wanted(mail)]

    def close(self) -> None:
        """End the connections."""
        self._clients.close()

    def _list(self, before: int, count: int) -> list[dict[str, Any]]:
        answer = self._clients.fetch(f"{self._url}/mails.json?before={before}&count={count}", _SILENT).result()
        listed: list[dict[str, Any]] = msgspec.json.decode(_body(answer))
        return listed


def _body(answer: Answer) -> bytes:
    if answer.status != 200 or answer.body is None:
        raise StartError(f"The inbox answered {answer.status}.")
    return answer.body
