"""What people do in a real browser: from the first offer to the results by plain forms, from a call to the proof."""

from __future__ import annotations

import re
from datetime import timedelta

from playwright.sync_api import expect

from tests.browser.visitor import Visitor, Visits
from tests.promises.reader import fetch_at_once
from tests.promises.world import World, until

SHOP = "https://shop.example.com/"


def stock_and_people(world: World, tag: str) -> tuple[str, ...]:
    """Customers of this test's own who bought shoes long ago."""
    names = tuple(f"{tag}-{name}" for name in ("ada", "bo", "cleo", "dan"))
    world.shop.people(*names, suite=tag)
    old = (world.clock.now() - timedelta(days=400)).isoformat()
    for name in names:
        first = name.partition("-")[2].capitalize()
        world.tell({"type": "identify", "userId": name, "traits": {"firstName": first}})
        for _ in range(3):
            world.tell(world.buy(name) | {"timestamp": old})
    return names


def make_offer(visitor: Visitor, name: str, kind: str, headline: str, **choices: str) -> None:
    visitor.go("/offers/new")
    visitor.page.get_by_label("Name", exact=True).fill(name)
    visitor.page.get_by_label("Kind").select_option(kind)
    visitor.page.get_by_label("Where a click goes").fill(SHOP + name.lower().replace(" ", "-"))
    for label, value in choices.items():
        visitor.page.get_by_label(label.replace("_", " ")).select_option(value)
    visitor.page.get_by_label("Headline", exact=True).fill(headline)
    visitor.press("Save")
    assert "Saved." in visitor.text, visitor.text


def make_campaign(visitor: Visitor, name: str) -> str:
    """A campaign with a new name; its address."""
    visitor.go("/campaigns/new")
    visitor.page.get_by_label("Name").fill(name)
    visitor.press("Create the campaign")
    return visitor.page.url.removeprefix(visitor.url).rpartition("/")[0]


def choose(visitor: Visitor, place: str, *offers: str) -> None:
    for turn, offer in enumerate(offers, 1):
        visitor.page.get_by_label(f"Turn of {offer} in {place}").fill(str(turn))


def test_it_takes_a_manager_from_the_first_offer_to_the_results_without_scripts(visits: Visits) -> None:
    world, tag = visits.life.world, "plain"
    names = stock_and_people(world, tag)
    with visits.visit("manager", scripts=False) as mara:
        mara.page.on("dialog", lambda dialog: dialog.accept())
        make_offer(mara, f"Next pair {tag}", "replacement", "Your next pair, 10 % off",
                   Its_purpose_is_met_by_a_purchase_of="shoes")  # fmt: skip
        make_offer(mara, f"Thanks {tag}", "thank-you", "Thank you", Only_after_a_purchase_of="shoes")
        at = make_campaign(mara, f"Shoes by hand {tag}")
        # The audience: whoever bought shoes three times or more, and of them this test's own.
        mara.page.locator('[name="condition-0"]').select_option("bought")
        mara.page.locator('[name="category-0"]').select_option("shoes")
        mara.page.locator('[name="value-0"]').fill("3")
        mara.press("Save and count")
        assert "The audience is saved." in mara.text
        mara.follow("Count now")
        count = re.search(r"(\d+)\s+would be mailed now", mara.text)
        assert count is not None, mara.text
        assert int(count[1]) >= len(names)
        # The offers: two in the large place, the neutral one in the small ones.
        mara.go(f"{at}/offers")
        choose(mara, "hero", f"Next pair {tag}", f"Thanks {tag}")
        mara.press("Save")
        assert "The offers are saved." in mara.text
        # The preview: now, and if they had bought.
        mara.go(f"{at}/preview")
        mara.page.get_by_label("Customer").fill(names[0])
        mara.press("Show")
        assert f"Hero: Next pair {tag}" in mara.text
        frame = mara.page.frame_locator("iframe")
        expect(frame.get_by_text("Hello Ada,")).to_be_visible()
        mara.page.get_by_label("If they had bought").select_option("shoes")
        mara.press("Show")
        assert f"Hero: Thanks {tag}" in mara.text
        mara.keep("journey-preview")
        # What counts, a test mail, then the send.
        mara.go(f"{at}/schedule")
        mara.page.get_by_label("Count").select_option("revenue")
        mara.press("Name it")
        assert "Named:" in mara.text
        mara.page.get_by_label("As this customer").fill(names[0])
        mara.page.get_by_label("To", exact=True).fill("mara@example.com")
        mara.press("Send test")
        assert "The test is on its way" in mara.text
        mara.press("Publish and send now")
        assert "It goes out now." in mara.text, mara.text
        campaign = int(at.rpartition("/")[2])
        until(lambda: world.shop.state(campaign) == "finished", "the mails to be sent")
        mara.go(f"{at}/schedule")
        assert f"{count[1]} of {count[1]} handed over" in mara.text
        # People open: two bought in between.
        until(lambda: len(world.mails(campaign)) >= int(count[1]) + 1, "the inbox to hold mails and test")
        mails = {mail.recipient: mail for mail in world.mails(campaign)}
        assert "mara@example.com" in mails, "the test came"
        world.clock.advance(timedelta(minutes=5))
        world.tell(world.buy(names[1]), world.buy(names[2]))
        for name in names:
            fetch_at_once(world.render.url, list(mails[f"{name}@example.com"].pictures.values()))
        world.recorded()
        mara.go(f"{at}/results")
        assert "Success: revenue within 14 days after the mail" in mara.text
        assert "2 of 4 opens differ from the choice at send time" in mara.text
        assert f"Thanks {tag}" in mara.text
        mara.keep("journey-results")
        assert not mara.troubles


def test_it_takes_support_from_a_call_to_what_was_seen_and_why(visits: Visits) -> None:
    world = visits.life.world
    story = world.story("call", people=1, slots=2)
    (name,) = story.names
    fetch_at_once(world.render.url, list(story.mail().pictures.values()))
    world.tell(world.buy(name))
    world.clock.advance(timedelta(minutes=2))
    fetch_at_once(world.render.url, list(story.mail().pictures.values()))
    world.recorded()
    with visits.visit("support") as sam:
        sam.go("/")
        sam.page.get_by_label("E-mail address, customer number").fill(f"{name}@example.com")
        sam.press("Find")
        assert "What they saw and why" in sam.text
        pictures = sam.page.locator("img.timeline-picture")
        assert pictures.count() == 2
        assert sam.page.evaluate("() => [...document.images].every(image => image.naturalWidth > 0)")
        sam.keep("call-customer")
        sam.page.get_by_role("link", name="What they saw and why").first.click()
        sam.page.wait_for_load_state("networkidle")
        assert "“discount call” was not shown: shoes was bought since the mail was sent." in sam.text
        assert sam.page.evaluate("() => [...document.images].every(image => image.naturalWidth === 1200)")
        assert sam.text.count("What they would see now") == 2
        sam.keep("call-open")
        assert not sam.troubles


def test_it_draws_the_offer_again_while_one_types(visits: Visits) -> None:
    with visits.visit("manager") as mara:
        mara.go("/offers/new")
        picture = mara.page.locator("#preview img")
        expect(picture).to_be_visible()
        before = picture.get_attribute("src")
        mara.page.get_by_label("Headline", exact=True).fill("Something else altogether")
        expect(picture).not_to_have_attribute("src", before or "")
        assert not mara.troubles


def test_it_says_beside_the_field_what_is_wrong_and_keeps_what_was_typed(visits: Visits) -> None:
    with visits.visit("manager") as mara:
        mara.go("/offers/new")
        mara.page.get_by_label("Name", exact=True).fill("Half an offer")
        mara.page.get_by_label("Where a click goes").fill("https://shop.example.com/")
        mara.page.get_by_label("From (UTC)").fill("2026-05-02T09:00")
        mara.page.get_by_label("Until (UTC)").fill("2026-05-01T09:00")
        mara.press("Save")
        until_field = mara.page.get_by_label("Until (UTC)")
        assert "is-invalid" in (until_field.get_attribute("class") or "")
        assert "must be after starts_at" in mara.text or "must be after" in mara.text
        assert mara.page.get_by_label("Name", exact=True).input_value() == "Half an offer"
        mara.keep("offer-fault")


def test_it_remembers_the_theme_that_was_chosen(visits: Visits) -> None:
    with visits.visit("manager", scheme="dark") as mara:
        mara.go("/")
        theme = mara.page.locator("html")
        expect(theme).to_have_attribute("data-bs-theme", "dark")
        mara.press("Switch between light and dark")
        expect(theme).to_have_attribute("data-bs-theme", "light")
        mara.go("/campaigns/")
        expect(theme).to_have_attribute("data-bs-theme", "light")


def test_it_can_be_worked_by_keyboard(visits: Visits) -> None:
    with visits.visit("support") as sam:
        sam.go("/customers/")
        sam.page.keyboard.type("nobody@example.com")
        sam.page.keyboard.press("Enter")
        sam.page.wait_for_load_state("networkidle")
        assert "Nobody goes by that" in sam.text
    with visits.visit("manager") as mara:
        mara.go("/campaigns/")
        mara.page.keyboard.press("Tab")
        assert mara.page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
