"""Uploads: kept clean in a library, refused with the reason, focused by a click, shown for a product."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from sqlalchemy import select

from base import keys
from campaigns.models import AdminEntry, Picture
from signals import productpictures
from signals.productfacts import ProductFacts
from signals.products import take_products
from tests.campaigns.web import Browser, Web, told
from tests.misbehaving import HTML, SVG, bomb, photo


def uploaded(browser: Browser, data: bytes, name: str = "", file: str = "beach.jpg") -> Any:
    """Upload through the page."""
    browser.get("/pictures/")
    # Written out: the test client would put a large form into a file that it forgets to close.
    head = "".join(
        f'--edge\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'
        for field, text in {"csrf_token": browser.token, "name": name}.items()
    )
    head += f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{file}"\r\n\r\n'
    body = head.encode() + data + b"\r\n--edge--\r\n"
    return browser.client.post("/pictures/", data=body, content_type="multipart/form-data; boundary=edge")


def rows(web: Web) -> list[Picture]:
    with web.shop.sessions.begin() as session:
        return list(session.scalars(select(Picture).order_by(Picture.id)))


def feed(web: Web, **links: str) -> None:
    items = [{"id": name, "title": name, "price": "5 EUR", "image_link": link} for name, link in links.items()]
    assert take_products(web.shop.intake, web.shop.source, items, web.shop.now).refused == 0


def test_it_keeps_an_upload_and_focuses_it_where_it_is_clicked(web: Web) -> None:
    browser = web.desk("manager")
    answer = uploaded(browser, photo(900, 600))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/pictures/1")
    page = browser.get("/pictures/1").text
    assert 'type="image"' in page
    assert 'width="360" height="240"' in page
    # A click on an image button is told in the pixels in which it is shown; no script takes part.
    browser.post("/pictures/1", **{"name": "Beach", "focus.x": "90", "focus.y": "180", "focus_x": "50"})
    (row,) = rows(web)
    assert (row.name, row.focus_x, row.focus_y) == ("Beach", 0.25, 0.75)
    browser.post("/pictures/1", name="Beach", focus_x="10", focus_y="20")
    (row,) = rows(web)
    assert (row.focus_x, row.focus_y) == (0.1, 0.2)
    kept = browser.get("/pictures/1/file")
    assert (kept.mimetype, kept.data) == ("image/jpeg", web.shop.blobs.get(row.digest))
    assert "from 0 to 100" in browser.post("/pictures/1", name="Beach", focus_x="101", focus_y="0").text


def test_it_keeps_the_same_picture_once(web: Web) -> None:
    browser = web.desk("manager")
    uploaded(browser, photo(), "One")
    browser.post("/pictures/1/archive")
    assert "No pictures yet" in browser.get("/pictures/").text
    uploaded(browser, photo(), "Two")
    (row,) = rows(web)
    assert (row.name, row.archived_at) == ("Two", None)
    with web.shop.sessions.begin() as session:
        done = session.scalars(select(AdminEntry.action).where(AdminEntry.object_type == "picture"))
        assert list(done) == ["create", "archive", "change"]


REFUSED = (
    (SVG, "is not a picture in JPEG, PNG, GIF or WebP"),
    (HTML, "is not a picture in JPEG, PNG, GIF or WebP"),
    (bomb(30_000, 30_000), "has more than 20 million pixels"),
    (bomb(50_000, 40), "is 50,000 by 40 pixels; a side may have at most 12,000"),
    (photo()[:4000], "is cut off or damaged"),
    (b"\xff" * 10_000_001, "is larger than 10 MB"),
)


def test_it_refuses_an_upload_with_the_reason_beside_the_field(web: Web) -> None:
    browser, api = web.desk("manager"), web.program("manager")
    for data, reason in REFUSED:
        answer = uploaded(browser, data)
        assert answer.status_code == 400
        assert f'<div class="invalid-feedback" id="e-file">{reason}' in answer.text
    problem = told(api.call("POST", "/pictures", {"name": "x", "file": base64.b64encode(data).decode()}), 400)
    assert problem["field"] == "file"
    assert reason in problem["detail"]
    assert rows(web) == []


def test_it_takes_no_body_larger_than_a_picture(web: Web) -> None:
    assert uploaded(web.desk("manager"), b"\xff" * 15_000_000).status_code == 413


def test_it_shows_a_product_with_an_upload_from_the_next_open_on(web: Web) -> None:
    feed(web, shoes="https://shop.example.com/shoes.jpg")
    browser = web.desk("manager")
    uploaded(browser, photo())
    assert browser.post("/pictures/1/product", product="shoes").status_code == 302
    data = web.shop.store.get(keys.product("shoes"))
    assert isinstance(data, bytes)
    (row,) = rows(web)
    assert msgspec.msgpack.decode(data, type=ProductFacts).image == row.digest
    refused = browser.post("/pictures/1/product", product="nothing")
    assert "names a product that the feed does not have" in refused.text


def test_it_tells_which_product_pictures_failed_and_tries_again(web: Web) -> None:
    link = "https://shop.example.com/shoes.jpg"
    feed(web, shoes=link, socks="https://shop.example.com/socks.jpg")
    with web.shop.sessions.begin() as session:
        productpictures.claim(session, web.shop.now, 10)
        productpictures.fail(session, "shoes", link, "is cut off or damaged", web.shop.now)
    browser = web.desk("manager")
    page = browser.get("/pictures/").text
    assert "The picture is cut off or damaged." in page
    assert "0 kept, 1 waiting to be fetched, 1 failed" in page
    browser.post("/pictures/retry", product="shoes")
    with web.shop.sessions.begin() as session:
        assert [name for name, _ in productpictures.claim(session, web.shop.now, 10)] == ["shoes"]
        productpictures.fail(session, "shoes", link, "is cut off or damaged", web.shop.now)
    api = web.program("manager")
    listed = api.told("GET", "/product-pictures")
    assert listed["counts"] == {"kept": 0, "waiting": 1, "failed": 1}
    assert [(one["product"], one["fault"]) for one in listed["failures"]] == [("shoes", "is cut off or damaged")]
    assert api.told("POST", "/product-pictures/retry", {"products": ["shoes"]})["done"]


def test_it_does_by_program_what_the_pages_do(web: Web) -> None:
    feed(web, shoes="https://shop.example.com/shoes.jpg")
    api = web.program("manager")
    made = api.told("POST", "/pictures", {"name": "Beach", "file": base64.b64encode(photo()).decode()})
    assert (made["width"], made["height"], made["focus"]) == (900, 600, {"x": 0.5, "y": 0.5})
    changed = api.told("PUT", f"/pictures/{made['id']}", {"name": "Sea", "focus": {"x": 0.1, "y": 1}})
    assert changed == made | {"name": "Sea", "focus": {"x": 0.1, "y": 1.0}}
    assert api.told("GET", "/pictures")["pictures"] == [changed] == [api.told("GET", f"/pictures/{made['id']}")]
    assert api.call("GET", f"/pictures/{made['id']}/file").mimetype == "image/jpeg"
    assert api.told("POST", f"/pictures/{made['id']}/product", {"product": "shoes"})["done"]
    assert api.told("DELETE", f"/pictures/{made['id']}")["done"]
    assert api.told("GET", "/pictures")["pictures"] == []
