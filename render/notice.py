"""Pages that the reader of a mail meets outside it: few words, one thing to do, light and dark, without a script."""

from __future__ import annotations

from typing import Final

from markupsafe import escape

from render import respond
from render.binding import RTL_LANGUAGES
from render.respond import Answer

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{margin:0;background:#f4f2ee;color:#1c1b1a;"
    'font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}'
    "main{box-sizing:border-box;max-width:34rem;margin:12vh auto 2rem;padding:2.25rem;border-radius:16px;"
    "background:#ffffff;box-shadow:0 0 0 1px #e0dcd5;overflow-wrap:anywhere}"
    "h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25;text-wrap:balance}"
    "p,form{margin:0 0 1.25rem}main>:last-child{margin-bottom:0}"
    ".from{margin:0 0 .5rem;font-size:.9375rem;font-weight:600;color:#57534e}"
    ".less{padding-top:1.25rem;border-top:1px solid #e0dcd5;font-size:.9375rem;color:#57534e}"
    "button,.go{display:inline-block;padding:.7rem 1.4rem;border:0;border-radius:999px;background:#1c1b1a;color:#fff;"
    "font:inherit;font-weight:600;line-height:1.4;text-align:start;text-decoration:none;cursor:pointer}"
    ".box{display:flex;gap:.75rem;align-items:baseline;margin:0 0 .75rem;color:#1c1b1a;font-size:1.0625rem;"
    "cursor:pointer}"
    ".box input{flex:none;width:1.1rem;height:1.1rem;margin:0;accent-color:#0f766e;translate:0 .15rem}"
    ".quiet{background:none;color:inherit;box-shadow:inset 0 0 0 1px #78736c}"
    ":focus-visible{outline:3px solid #0f766e;outline-offset:3px}"
    "@media(max-width:480px){main{min-height:100vh;margin:0;padding:2rem 1.25rem;border-radius:0;box-shadow:none}}"
    "@media(prefers-color-scheme:dark){body{background:#101114;color:#f4f3f0}"
    ".box{color:#f4f3f0}"
    "main{background:#1b1d22;box-shadow:0 0 0 1px #34373f}.from,.less{color:#b9b7b1}.less{border-color:#34373f}"
    "button,.go{background:#f4f3f0;color:#17181c}.quiet{background:none;color:inherit;"
    "box-shadow:inset 0 0 0 1px #8f8d88}:focus-visible{outline-color:#2dd4bf}}"
)


def notice(title: str, body: str, *, sender: str = "", locale: str = "en", status: str = "200 OK") -> Answer:
    """A page with a heading and a body of finished HTML; `title` and `sender`, who it is from, are escaped here."""
    direction = ' dir="rtl"' if locale.replace("_", "-").partition("-")[0].lower() in RTL_LANGUAGES else ""
    head = f'<p class="from">{escape(sender)}</p>' if sender else ""
    return respond.page(
        f'<!doctype html><html lang="{escape(locale)}"{direction}><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{_STYLE}</style></head>'
        f"<body><main>{head}<h1>{escape(title)}</h1>{body}</main></body></html>",
        status,
    )


def not_found() -> Answer:
    """A plain 404: says nothing about what was asked for."""
    return notice(
        "There is no such page", "<p>The link is not whole, or it is not one of ours.</p>", status="404 Not Found"
    )


def try_again(title: str, sentence: str) -> Answer:
    """A 503 for what cannot be done just now; mail providers and browsers come back for it."""
    page = notice(title, f"<p>{escape(sentence)}</p>", status="503 Service Unavailable")
    return page._replace(headers=[*page.headers, ("Retry-After", "30")])
