"""Somebody who reads their mail in Roundcube, in a browser."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Final

from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import FrameLocator, Locator, Page, Request

from tests.browser.mailbox import PASSWORD

FRAME: Final = "messagecontframe"
PICTURES: Final = "img[src*='/o/']"
UNLIKE: Final = 12.0
"""Mean difference of two pictures, of 255 levels: scaling one to the screen makes less than 4, another design 40."""


@dataclass
class Reader:
    """A person at a browser of their own. `asked` are the requests it made to the render app, in order."""

    page: Page
    render_url: str
    asked: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.context.on("request", self._note)

    def _note(self, request: Request) -> None:
        if request.url.startswith(self.render_url):
            self.asked.append(request)

    def sign_in(self, url: str, address: str) -> None:
        """Go to the inbox; it must hold a mail."""
        self.page.goto(url)
        self.page.fill("#rcmloginuser", address)
        self.page.fill("#rcmloginpwd", PASSWORD)
        self.page.click("#rcmloginsubmit")
        self.page.wait_for_selector("#messagelist tr.message")

    def open(self) -> None:
        """Load the inbox anew and look at its first mail."""
        self.page.reload()
        self.page.click("#messagelist tr.message .subject a")
        self.page.mouse.move(0, 0)
        self._await_mail("#messagebody")

    def is_asked_whether_to_load(self) -> bool:
        """Whether the webmail says that it holds pictures back."""
        return self._mail.locator("#remote-objects-message").is_visible()

    def allow(self) -> None:
        """Let the webmail load this mail's pictures; it remembers that until the person signs out."""
        self._mail.locator("#remote-objects-message a:has-text('Allow')").click()
        self._await_mail(PICTURES)

    def pictures(self) -> dict[str, bytes]:
        """What the mail shows: the bytes of each picture by its address, checked to be what stands on the screen.

        Nothing of the webmail's session may have gone with the requests.
        """
        requests = {request.url: request for request in self.asked}
        shown = {}
        for image in self._mail.locator(PICTURES).all():
            image.evaluate("image => image.decode()")
            address = str(image.get_attribute("src"))
            assert "cookie" not in requests[address].all_headers()
            answer = requests[address].response()
            assert answer is not None
            assert answer.status == 200
            shown[address] = answer.body()
            assert unlikeness(shown[address], image.screenshot()) < UNLIKE
        return shown

    def click(self) -> str:
        """Follow the first picture's link; the address it ends at."""
        with self.page.expect_popup() as opened:
            self._linked.click()
        opened.value.wait_for_load_state()
        landed = opened.value.url
        opened.value.close()
        return landed

    def _await_mail(self, sign: str) -> None:
        """Wait until the mail with this in it is there, with all that it loads."""
        self._mail.locator(sign).first.wait_for(state="visible")
        frame = self.page.frame(name=FRAME)
        assert frame is not None
        frame.wait_for_load_state()

    @property
    def _mail(self) -> FrameLocator:
        return self.page.frame_locator(f"#{FRAME}")

    @property
    def _linked(self) -> Locator:
        return self._mail.locator(f"a:has({PICTURES})").first


def unlikeness(sent: bytes, on_screen: bytes) -> float:
    """How far a picture is from a screenshot of it: the mean over pixels and channels, of 255 levels."""
    seen = Image.open(io.BytesIO(on_screen)).convert("RGB")
    scaled = Image.open(io.BytesIO(sent)).convert("RGB").resize(seen.size)
    return sum(ImageStat.Stat(ImageChops.difference(seen, scaled)).mean) / 3
