"""Which traits are sealed: what names a person or says where to find them, in any spelling of a word that is listed."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from signals import identifying
from signals.foldevent import trait_name
from signals.identifying import is_identifying
from tests.signals.sending import Desk, call

STREET = "Quillfeather-Gasse 3"


def test_it_finds_each_word_that_is_listed() -> None:
    listed = sorted(identifying._NAMES | identifying._WORDS | identifying._BIRTHS)
    assert [name for name in listed if not is_identifying(name)] == []
    assert [name for name in listed if not is_identifying(trait_name(name.upper()))] == []


@pytest.mark.parametrize(
    "name", ["Straße", "straße_2", "Straße und Nr.", "lieferung.straße", "email地址", "téléphone", "teléfono"]
)
def test_it_finds_words_beside_letters_that_are_not_ascii(name: str) -> None:
    assert is_identifying(trait_name(name))


@pytest.mark.parametrize("name", ["größe", "schuhgröße", "tier", "prénom_du_chat", "address.city", "address.country"])
def test_it_leaves_what_identifies_nobody(name: str) -> None:
    assert not is_identifying(name)


def test_a_rebuild_seals_what_an_earlier_version_left_readable(desk: Desk) -> None:
    desk.send(call("identify", userId="u1", traits={"straße": STREET, "tier": "gold"}))
    ((document,),) = desk.rows("SELECT document FROM profile_state")
    assert (document["traits"], document[identifying.SEALED]) == ({"tier": "gold"}, {"straße": True})
    open_one = """UPDATE profile_state SET document =
        jsonb_set(document - 'sealed', '{traits,straße}', to_jsonb(CAST(:street AS text)))"""
    with desk.sessions.begin() as session:
        session.execute(text(open_one), {"street": STREET})
    desk.rebuilt()
    assert desk.rows("SELECT document FROM profile_state") == [(document,)]
