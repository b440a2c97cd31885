"""The README's first campaign, through the pages alone: made, sent, opened, swapped, and proven by support."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from base.clock import pause
from render.classify import MACHINE_SECONDS
from tests.browser.conftest import Site, keep, until

SHOES = {"product_id": "aero-5", "category": "Running shoes", "price": 120, "quantity": 1}
ANN = "ann@example.com"


def make_offer(page: Page, site: Site, name: str, kind: str, design: str, headline: str, **choices: str) -> None:
    page.goto(f"{site.web}/offers/new")
    page.fill("[name=name]", name)
    page.select_option("[name=kind]", kind)
    page.select_option("[name=category]", label="Running shoes")
    page.fill("[name=landing]", "https://www.example.com/shoes")
    page.select_option("[name=creative_id]", label=design)
    page.fill("[name=headline]", headline)
    for field, label in choices.items():
        page.select_option(f"[name={field}]", label=label)
    page.wait_for_selector("#preview img")
    page.click("button:has-text('Save'):visible")
    page.wait_for_selector("text=Saved.")


def open_mail(page: Page, site: Site) -> str:
    """Open Ann's newest mail in the inbox; returns the text of its frame, once its picture came."""
    number = site.mails(ANN)[0]["number"]
    page.goto(f"http://127.0.0.1:{site.system.settings.inbox_port}/mail/{number}")
    page.wait_for_load_state("networkidle")
    frame = page.frames[1]
    frame.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    return str(frame.evaluate("document.images[0].currentSrc"))


def test_it_makes_sends_opens_swaps_and_proves_a_first_campaign(site: Site) -> None:
    site.tell(type="identify", userId="ann", traits={"email": ANN, "firstName": "Ann"})
    site.tell(type="track", userId="ann", event="Product Viewed", properties={"category": "Running shoes"})
    page = site.page("manager")
    make_offer(
        page, site, "Shoes, 20 % off", "replacement", "Restock discount", "Fresh running shoes",
        purpose_category="Running shoes",
    )  # fmt: skip
    make_offer(
        page, site, "Thank you for the shoes", "thank-you", "Thank you", "", after_category="Running shoes"
    )  # fmt: skip
    page.goto(f"{site.web}/offers/")
    page.wait_for_load_state("networkidle")
    keep(page, "offers")

    page.goto(f"{site.web}/campaigns/new")
    page.fill("[name=name]", "Running shoes")
    page.check("[value=picture]")
    page.click("main form button.btn-primary")
    page.wait_for_selector("text=would be mailed now")
    page.click("nav >> text=Offers >> nth=-1")
    page.fill("[aria-label='Turn of Shoes, 20 % off in hero']", "1")
    page.fill("[aria-label='Turn of Thank you for the shoes in hero']", "2")
    page.click("button:has-text('Save'):visible")
    page.wait_for_selector("text=The offers are saved.")
    campaign = page.url.rsplit("/", 1)[0]

    page.goto(f"{campaign}/preview")
    page.fill("[name=person]", ANN)
    page.click("button:has-text('Show')")
    page.wait_for_load_state("networkidle")
    expect(page.locator("h3:has-text('Shoes, 20 % off')")).to_have_count(1)
    page.select_option("[name=bought]", label="Running shoes")
    page.click("button:has-text('Show')")
    page.wait_for_load_state("networkidle")
    expect(page.locator("h3:has-text('Thank you for the shoes')")).to_have_count(1)
    keep(page, "preview")

    page.goto(f"{campaign}/schedule")
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("text=Publish and send now")
    page.wait_for_selector("text=It goes out now.")
    until(lambda: site.mails(ANN), "Ann's mail")
    # Whoever looks sooner is told to be a machine.
    pause(MACHINE_SECONDS + 1)

    before = open_mail(page, site)
    assert "/o/" in before
    keep(page, "mail")
    site.tell(
        type="track",
        userId="ann",
        event="Order Completed",
        properties={"order_id": "1", "total": 120, "currency": "USD", "products": [SHOES]},
    )
    open_mail(page, site)
    keep(page, "mail-after")

    page.goto(f"{campaign}/results")
    until(lambda: _reports_an_open(page), "the open on the results page")
    page.wait_for_load_state("networkidle")
    keep(page, "results")

    desk = site.page("support")
    desk.goto(f"{site.web}/customers/")
    desk.fill("[name=q]", ANN)
    desk.click("button:has-text('Find')")
    desk.wait_for_selector("h1:has-text('Ann')")
    until(lambda: _tells_both_opens(desk), "both opens on the timeline")
    desk.wait_for_load_state("networkidle")
    keep(desk, "customer")
    desk.click("text=What they saw and why >> nth=0")
    desk.wait_for_load_state("networkidle")
    shown = desk.inner_text("main")
    assert "Thank you for the shoes" in shown
    assert "was bought since the mail was sent" in shown
    keep(desk, "open")


def _reports_an_open(page: Page) -> bool:
    page.reload()
    return page.locator("td:has-text('Shoes, 20 % off')").count() > 0


def _tells_both_opens(page: Page) -> bool:
    page.reload()
    return page.locator(".timeline-open").count() >= 2
