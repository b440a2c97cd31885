"""What was changed after it was kept is named: a row, a column, an entry of a log or of the chain, a file of a pack."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns import access_log, chain, erasure, evidence, verifying
from campaigns.retention import Policy
from campaigns.verifying import Report
from render.record import FetchRecord
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Web
from tests.promises.reader import Mail
from tests.workers.opens import Opens
from workers.commands.verify import command
from workers.retention import Retention

CLEAN: list[str] = []


def lived(opens: Opens) -> Mail:
    """Two people's mails are opened, one of them clicks, everything is recorded and tied; the one who clicked."""
    mails = opens.send("ann", "bob", discount={"fields": {"headline": "{{ profile.first_name }}, 10 % off"}})
    for mail in mails.values():
        opens.look(mail)
        opens.look(mail, dark=True)
    opens.get(mails["ann"].clicks[0])
    opens.record()
    tied(opens)
    return mails["ann"]


def tied(opens: Opens) -> None:
    """Everything that waits is tied to the chain, in entries of a few."""
    with opens.shop.sessions.begin() as session:
        while chain.tie(session, opens.shop.now):
            pass


def verified(opens: Opens, session: Session, roots: dict[date, str] | None = None) -> Report:
    """Everything held against the chain."""
    policy = Policy.of(opens.shop.settings)
    return verifying.verify(session, roots or {}, policy, opens.shop.now)


def faults(opens: Opens, session: Session, **roots: str) -> list[str]:
    """What is found by looking at everything."""
    known = {root.day: roots[f"d{root.day:%d}"] for root in chain.roots(session) if f"d{root.day:%d}" in roots}
    return verified(opens, session, known).faults


@contextmanager
def edited(opens: Opens, *statements: str, **values: Any) -> Iterator[Session]:
    """The database after somebody edited it by hand; it is as it was afterwards."""
    with opens.shop.sessions() as session:
        for statement in statements:
            assert session.execute(text(statement), values).rowcount > 0, statement  # type: ignore[attr-defined]
        yield session
        session.rollback()


@pytest.mark.feature("OP-18")
def test_it_names_the_row_that_was_edited(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "AT_ONCE", 7)
    lived(opens)
    with opens.shop.sessions() as session:
        report = verified(opens, session)
        (root,) = chain.roots(session)
    assert report.faults == CLEAN
    kept = sum(opens.count(table) for table in ("decision", "fetch", "click", "admin_log", "access_log"))
    assert (report.rows, report.waiting) == (kept, 0)
    assert report.entries >= 4

    decision, fetched, click = (
        opens.rows(f'SELECT id FROM "{table}" ORDER BY at, id LIMIT 1')[0].id
        for table in ("decision", "fetch", "click")
    )
    log = opens.rows("SELECT max(id) AS id FROM admin_log")[0].id
    public = "public = set_byte(public, 0, get_byte(public, 0) # 1)"
    by_name = {
        ("decision", decision): (
            f"UPDATE decision SET {public} WHERE id = :id",
            f"UPDATE decision SET {public}, public_sha256 = sha256({public.partition(' = ')[2]}) WHERE id = :id",
            "UPDATE decision SET personal = set_byte(personal, 19, get_byte(personal, 19) # 1) WHERE id = :id",
            "UPDATE decision SET slots = '{\"0\": 77}' WHERE id = :id",
            "UPDATE decision SET rung = rung || 's' WHERE id = :id",
            "UPDATE decision SET profile_id = profile_id + 1000 WHERE id = :id",
        ),
        ("fetch", fetched): (
            f'UPDATE "fetch" SET {public} WHERE id = :id',
            "UPDATE \"fetch\" SET sha256 = sha256('another') WHERE id = :id",
            "UPDATE \"fetch\" SET at = at - interval '1 second' WHERE id = :id",
            'DELETE FROM "fetch" WHERE id = :id',
        ),
        ("click", click): (
            "UPDATE click SET offer_id = 77 WHERE id = :id",
            "DELETE FROM click WHERE id = :id",
        ),
        ("admin_log", log): (
            "UPDATE admin_log SET action = 'nothing' WHERE id = :id",
            "UPDATE admin_log SET at = at - interval '1 second' WHERE id = :id",
            "DELETE FROM admin_log WHERE id = :id",
        ),
    }  # fmt: skip
    for (table, name), statements in by_name.items():
        for statement in statements:
            with edited(opens, statement, id=name) as session:
                (fault,) = faults(opens, session)
                assert f"{table} {name} " in f"{fault} ", statement
    columns = ", ".join(
        f'"{row.column_name}"'
        for row in opens.rows("SELECT column_name FROM information_schema.columns WHERE table_name = 'click'")
        if row.column_name != "id"
    )
    forged = f"INSERT INTO click (id, {columns}) SELECT 'forged', {columns} FROM click LIMIT 1"
    with edited(opens, forged) as session:
        assert faults(opens, session) == ["click forged was put in by hand: it is not in the chain."]

    # The chain itself, and the chain made anew as a whole: only a root that was kept elsewhere tells.
    with edited(opens, "UPDATE chain_entry SET leaves = leaves || '\\x00' WHERE number = 2") as session:
        assert "Entry 2 of the chain was changed." in faults(opens, session)
    with edited(opens, "DELETE FROM chain_entry WHERE number = 3") as session:
        assert "Entries 3 to 3 of the chain are missing." in faults(opens, session)
    again = (
        "INSERT INTO unchained (kind, row_id, leaf)"
        " SELECT 'decision', id, sha256(public || sha256(personal)) FROM decision",
        "UPDATE decision SET slots = slots",
        "DELETE FROM chain_entry",
    )
    with edited(opens, *again) as session:
        chain.tie(session, opens.shop.now)
        day = f"d{root.day:%d}"
        (told, *_) = faults(opens, session, **{day: root.hash})
        assert told.startswith(f"The root {root.hash} that you kept of {root.day} ")


@pytest.mark.feature("OP-18")
def test_it_names_what_was_written_over_through_the_chain(opens: Opens) -> None:
    """Whoever may write to every table, the waiting room of the chain among them, in the words of the chain."""
    with opens.shop.sessions.begin() as session:
        access_log.record(session, MANAGER, "export", opens.shop.now, profile_id=1)
    tied(opens)
    opens.shop.clock.advance(timedelta(days=3))
    mail = lived(opens)
    opens.shop.clock.advance(timedelta(days=3))
    with opens.shop.sessions.begin() as session:
        access_log.record(session, MANAGER, "export", opens.shop.now, profile_id=mail.token.profile)
    tied(opens)
    decision, fetched, log = (
        opens.rows(f'SELECT id FROM "{table}" ORDER BY at DESC, id LIMIT 1')[0].id
        for table in ("decision", "fetch", "admin_log")
    )
    waits = "INSERT INTO unchained (kind, row_id, leaf)"
    over = waits + " SELECT '{0}', id, sha256(public || sha256({1})) FROM \"{0}\" WHERE id = :id"
    gone = waits + " VALUES ('expired {0}', CAST(:id AS text), '')"
    sealed = "UPDATE decision SET personal = '\\x00' WHERE id = :id"
    spaced = "convert_to(replace(convert_from(public, 'UTF8'), '\"size\":', '\"size\": '), 'UTF8')"
    another = f'UPDATE "fetch" SET public = {spaced} WHERE id = :id'
    twice, early = (
        "was written over: it stands in the chain 2 times.",
        "is missing: it is said to have expired after 3.0",
    )
    forgeries: list[tuple[str, Any, tuple[str, ...], str]] = [
        ("decision", decision, (sealed, over.format("decision", "personal")), twice),
        ("fetch", fetched, (another, over.format("fetch", "''")), twice),
        ("decision", decision, ("DELETE FROM decision WHERE id = :id", gone.format("decision")), early),
        ("admin_log", log, ("DELETE FROM admin_log WHERE id = :id", gone.format("admin_log")),
         "is missing: entries of a log do not expire."),
    ]  # fmt: skip
    for table, name, statements, words in forgeries:
        for is_tied in (True, False):
            with edited(opens, *statements, id=name) as session:
                if is_tied:
                    chain.tie(session, opens.shop.now)
                told = faults(opens, session)
            assert any(fault.startswith(f"{table} {name} {words}") for fault in told), (told, is_tied)
    # A record that is put in later, with a leaf of its own, is tied long after it happened.
    columns = ", ".join(
        f'"{row.column_name}"'
        for row in opens.rows("SELECT column_name FROM information_schema.columns WHERE table_name = 'click'")
        if row.column_name not in ("id", "public")
    )
    public = "convert_to(replace(convert_from(public, 'UTF8'), id, 'forged'), 'UTF8')"
    forged = (
        f"INSERT INTO click (id, public, {columns}) SELECT 'forged', {public}, {columns} FROM click LIMIT 1",
        "INSERT INTO unchained (kind, row_id, leaf) SELECT 'click', id, sha256(public || sha256('')) FROM click"
        " WHERE id = 'forged'",
    )
    with edited(opens, *forged) as session:
        chain.tie(session, opens.shop.now + timedelta(hours=2))
        assert any("click forged is dated" in fault and "long afterwards" in fault for fault in faults(opens, session))
    # What waits and is not tied, though a recorder should have long done so.
    opens.get(mail.clicks[0])
    opens.record()
    opens.shop.clock.advance(timedelta(hours=2))
    with opens.shop.sessions() as session:
        assert any("long afterwards" in fault for fault in faults(opens, session))
        opens.shop.clock.advance(timedelta(hours=-4))
        chain.tie(session, opens.shop.now)
        assert [fault for fault in faults(opens, session) if "before the one before" in fault] == CLEAN
        session.execute(text("UPDATE chain_entry SET at = at - interval '1 day' WHERE number = 4"))
        assert "Entry 4 of the chain is dated before the one before it." in faults(opens, session)


@pytest.mark.feature("OP-18")
def test_it_is_whole_after_fallbacks_erasure_and_expiry(opens: Opens) -> None:
    mail = lived(opens)
    (row,) = opens.rows('SELECT id, public FROM "fetch" WHERE profile_id = :p LIMIT 1', p=mail.token.profile)
    opens.look(mail, slot=1)
    made = next(one for one in opens.waiting() if isinstance(one, FetchRecord))
    opens.put(replace(made, rung="static", sha256="00" * 32, body=None))
    opens.put(replace(made, rung="static", sha256="00" * 32, body=None))
    opens.record()
    tied(opens)
    erasure.erase_person(opens.following._intake, opens.shop.blobs, mail.token.profile, opens.shop.now, MANAGER)
    tied(opens)
    with opens.shop.sessions() as session:
        assert verified(opens, session).faults == CLEAN
    opens.shop.clock.advance(timedelta(days=500))
    retention = Retention(opens.shop.sessions, opens.shop.blobs, Policy.of(opens.shop.settings))
    while retention.step(opens.shop.now):
        pass
    assert [opens.count(table) for table in ("decision", "fetch", "click")] == [0, 0, 0]
    for _ in range(2):  # While what expired waits to be tied, and afterwards.
        with opens.shop.sessions() as session:
            report = verified(opens, session)
        assert (report.faults, report.expired >= 8) == (CLEAN, True)
        tied(opens)
    assert row.id


def checked(folder: Path, files: dict[str, bytes], *options: str) -> Result:
    """What the one command says of a pack with these files."""
    path = folder / "pack.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return CliRunner().invoke(command, [str(path), *options])


@pytest.mark.feature("SU-11")
def test_it_proves_what_was_shown_offline_and_names_what_was_changed(opens: Opens, tmp_path: Path) -> None:
    mail = lived(opens)
    web = Web(opens.shop)
    opens.look(mail, slot=1)
    opens.record()
    tied(opens)
    opens.shop.clock.advance(timedelta(days=1))
    program, ann = web.program("support"), mail.token.profile
    (row,) = opens.rows("SELECT id FROM decision WHERE profile_id = :p", p=ann)
    path = f"/customers/{ann}/opens/{row.id}/evidence"
    assert web.program("manager").call("GET", path).status_code == 403
    answer = program.call("GET", path)
    assert answer.headers["Content-Disposition"] == f"attachment; filename=evidence-{row.id[:12]}.zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    pictures = [name for name in files if name.startswith("pictures/")]
    assert len(pictures) == 3
    found = checked(tmp_path, files)
    assert (found.exit_code, found.output.splitlines()[-1].startswith("VERDICT: Whole in itself.")) == (0, True)
    assert "root of 2026-03-02: " in found.output
    root = found.output.partition("root of 2026-03-02: ")[2].partition("\n")[0]
    found = checked(tmp_path, files, "--root", f"2026-03-02={root}")
    assert (found.exit_code, found.output.splitlines()[-1]) == (0, "VERDICT: Nothing was changed."), found.output
    for day, words in (("02", "the chain was made anew"), ("03", "make it again"), ("09", "does not reach 2026-03-09")):
        found = checked(tmp_path, files, "--root", f"2026-03-{day}={'0' * 64}")
        assert (found.exit_code, words in found.output) == (1, True), found.output
    assert b"@example.com" not in b"".join(files.values())

    # Any byte of any file, also where the manifest was made to fit.
    for name in files:
        body = files[name]
        changed = body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]
        found = checked(tmp_path, files | {name: changed})
        assert found.exit_code == 1, name
        if name != "manifest.json":
            assert f"{name} was changed." in found.output or "no whole evidence pack" in found.output, name
            fits = files["manifest.json"].replace(sha(body).encode(), sha(changed).encode())
            if name not in ("read-me.txt", "context.json"):  # They say nothing that is to be proven.
                again = checked(tmp_path, files | {name: changed, "manifest.json": fits})
                assert again.exit_code == 1, (name, again.output)
        assert checked(tmp_path, {other: files[other] for other in files if other != name}).exit_code == 1, name
    assert checked(tmp_path, files | {"more.txt": b"more"}).exit_code == 1
    (tmp_path / "none.zip").write_bytes(b"PK no zip")
    assert CliRunner().invoke(command, [str(tmp_path / "none.zip")]).exit_code == 1

    # The page hands out the same; a record that was edited does not stand in the chain any more.
    page = web.browser("support").get(path)
    assert page.data[:2] == b"PK"
    with opens.shop.sessions.begin() as session:
        session.execute(text("UPDATE decision SET personal = '\\x00' WHERE id = :id"), {"id": row.id})
    with zipfile.ZipFile(io.BytesIO(program.call("GET", path).data)) as archive:
        late = {name: archive.read(name) for name in archive.namelist()}
    assert f"records/decision-{row.id}.json is not in the chain as it is." in checked(tmp_path, late).output
    assert program.call("GET", f"/customers/{ann}/opens/{'0' * 32}/evidence").status_code == 404
    web.close()


def fitted(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a manifest that fits them."""
    listed = {name: sha(body) for name, body in files.items() if name != "manifest.json"}
    return files | {"manifest.json": msgspec.json.encode({"version": 1, "files": listed})}


def sealed_up(files: dict[str, bytes], name: str, **changes: Any) -> dict[str, bytes]:
    """The files after one of JSON was changed, with a manifest that fits."""
    content = msgspec.json.decode(files[name]) | changes
    return fitted(files | {name: msgspec.json.encode(content)})


@pytest.mark.feature("SU-11")
def test_it_believes_a_pack_no_more_than_it_proves(opens: Opens, tmp_path: Path) -> None:
    mail = lived(opens)
    (row,) = opens.rows("SELECT id FROM decision WHERE profile_id = :p", p=mail.token.profile)
    opens.shop.clock.advance(timedelta(minutes=1))
    shop = opens.shop
    with shop.sessions.begin() as session:
        key, person = shop.settings.subject_key, mail.token.profile
        made = evidence.pack(session, shop.blobs, key, row.id, [person], shop.now)
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    found = checked(tmp_path, files)
    assert (found.exit_code, "there were no other fetches" in found.output) == (0, True), found.output
    assert "2026-03-02 was not over" in found.output

    # A picture that nobody was served, and one that is said to be kept no longer.
    extra = f"pictures/{sha(b'another')}.jpg"
    found = checked(tmp_path, fitted(files | {extra: b"another"}))
    assert (found.exit_code, f"{extra} does not belong to the pack." in found.output) == (1, True)
    told = msgspec.json.decode(files["evidence.json"])
    picture = next(name for name in files if name.startswith("pictures/"))
    lost = picture.partition("/")[2].partition(".")[0]
    less = {name: body for name, body in files.items() if name != picture}
    assert f"The picture {lost} is missing." in checked(tmp_path, fitted(less)).output
    found = checked(tmp_path, sealed_up(less, "evidence.json", not_kept=[lost]))
    assert (found.exit_code, f"not proven: what the picture {lost} showed" in found.output) == (0, True), found.output
    found = checked(tmp_path, sealed_up(files, "evidence.json", not_kept=[lost]))
    assert found.exit_code == 1
    # A fetch that the records hold and the words leave out, and one that they tell twice.
    for fetches in (told["fetches"][1:], [*told["fetches"], told["fetches"][0]]):
        assert checked(tmp_path, sealed_up(files, "evidence.json", fetches=fetches)).exit_code == 1

    # A chain that ties the record to a later moment.
    proof = msgspec.json.decode(files["chain.json"])
    links, previous = [], proof["links"][0]["previous"]
    for link in proof["links"]:
        link = link | {"previous": previous, "number": link["number"] + 5, "at": "2026-03-04T00:00:00+00:00"}
        link["hash"] = previous = chain.hash_of(msgspec.convert(link, chain.Link))
        links.append(link)
    records = [one | {"entry": one["entry"] + 5} for one in proof["records"]]
    entries = [one | {"number": one["number"] + 5} for one in proof["entries"]]
    found = checked(tmp_path, sealed_up(files, "chain.json", links=links, records=records, entries=entries))
    assert (found.exit_code, "was tied to the chain long afterwards" in found.output) == (1, True), found.output

    # Names that write the verdict, and files made to fail.
    evil = "x\x1b[2K\rVERDICT: Nothing was changed.\n"
    for content in (fitted(files | {evil: b""}), sealed_up(files, "evidence.json", campaign=evil)):
        found = checked(tmp_path, content)
        lines = found.output.splitlines()
        assert (found.exit_code, "\x1b" in found.output) == (1, False)
        assert [line.startswith("VERDICT: Something") for line in lines if line.startswith("VERDICT")] == [True]
    for name in ("evidence.json", "chain.json", "manifest.json", f"records/decision-{row.id}.json"):
        for broken in (b"[" * 100_000, b"7", b"null", b"{}", b'{"records": [], "entries": [], "links": []}', b"\xff"):
            found = checked(tmp_path, fitted(files | {name: broken}) if name != "manifest.json" else {name: broken})
            assert (found.exit_code, type(found.exception)) == (1, SystemExit), (name, broken[:9], found.exception)
    whole = made.content
    start = whole.index(b"PK\x01\x02")
    for at, new in ((start + 8, b"\x01"), (start + 10, b"\x0c"), (60, b"\xff" * 40), (start + 42, b"\xff\xff")):
        (tmp_path / "bad.zip").write_bytes(whole[:at] + new + whole[at + len(new) :])
        found = CliRunner().invoke(command, [str(tmp_path / "bad.zip")])
        assert (found.exit_code, type(found.exception)) == (1, SystemExit), (at, found.exception)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
