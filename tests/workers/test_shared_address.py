"""Several people behind one address: a mail's token is the mailed person's, whoever else reads there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from campaigns.campaigns import SlotChoice
from signals.intake import take_apart
from signals.joining import join
from tests.promises.reader import Mail
from tests.workers.opens import Opens

FAMILY = "family@example.com"


def mailed(opens: Opens, name: str) -> Mail:
    """The mail of a campaign to whoever has this first name."""
    thanks = opens.shop.offer("thank-you", after_category="shoes", priority=1)
    discount = opens.shop.offer("replacement", purpose_category="shoes", priority=2)
    default = opens.shop.offer("neutral")
    opens.discount, opens.thanks = discount, thanks
    before = len(opens.relay.mails)
    mails = opens.send_campaign(
        slots=[SlotChoice(slot=0, default=default, offers=[discount, thanks]), SlotChoice(slot=1, default=default)],
        audience={"field": "trait", "name": "called", "op": "=", "value": name},
    )
    assert [address for address, _ in opens.relay.mails[before:]] == [FAMILY]
    return mails["family"]


def seen(opens: Opens, mail: Mail) -> str:
    """What the hero shows now, five minutes after all else."""
    opens.shop.clock.advance(timedelta(minutes=5))
    opens.forget()
    opens.look(mail)
    opens.record()
    newest = "SELECT slots ->> '0' AS offer FROM decision WHERE profile_id = :p ORDER BY at DESC LIMIT 1"
    (row,) = opens.rows(newest, p=mail.token.profile)
    kind = opens.rows("SELECT kind FROM offer WHERE id = :id", id=int(row.offer))[0].kind
    return str(kind)


@pytest.mark.feature("DE-11")
def test_it_ties_a_token_to_the_person_who_was_mailed_and_not_to_the_address(opens: Opens) -> None:
    shop = opens.shop
    shop.intake.categories.learn(["Shoes"], create=True)
    ann, bob = shop.people("ann", "bob", email=FAMILY)
    assert ann != bob
    for name in ("ann", "bob"):
        shop.send({"type": "identify", "userId": name, "traits": {"called": name.capitalize()}})
    to_ann, to_bob = mailed(opens, "Ann"), mailed(opens, "Bob")
    assert (to_ann.token.profile, to_bob.token.profile) == (ann, bob)

    shop.send(shop.order("bob", "Shoes", shop.now))
    assert (seen(opens, to_ann), seen(opens, to_bob)) == ("replacement", "thank-you")
    opens.get(to_bob.clicks[0])
    opens.record()
    assert [row.profile_id for row in opens.rows("SELECT profile_id FROM click")] == [bob]
    fetched = 'SELECT DISTINCT profile_id FROM "fetch" ORDER BY 1'
    assert [row.profile_id for row in opens.rows(fetched)] == [ann, bob]

    # As one person both mails know what was bought; as two again each knows its own, whose mail it is.
    merge = join(shop.intake, ann, bob, shop.now, by="x")
    assert (seen(opens, to_ann), seen(opens, to_bob)) == ("thank-you", "thank-you")
    take_apart(shop.intake, merge, shop.now, apart=True, by="x")
    assert (seen(opens, to_ann), seen(opens, to_bob)) == ("replacement", "thank-you")

    # So is what the link in it takes back: of what the other does there nothing is kept, of hers all.
    assert opens.client.post(to_bob.unsubscribe, data={"purpose": "tracking"}).status_code == 200
    opens.record()
    refused = opens.rows("SELECT profile_id, granted FROM consent WHERE purpose = 'tracking'")
    assert [tuple(row) for row in refused] == [(bob, False)]
    kept = opens.rows("SELECT count(*) AS n FROM decision WHERE profile_id = :p", p=bob)
    assert seen(opens, to_ann) == "replacement"
    seen(opens, to_bob)
    assert opens.rows("SELECT count(*) AS n FROM decision WHERE profile_id = :p", p=bob) == kept
