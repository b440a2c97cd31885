"""docs/settings.md from the table of settings: `python -m tests.settings_page` writes it anew."""

from __future__ import annotations

from pathlib import Path

from base.settings import SETTINGS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Settings are environment variables, read once when a process starts. A malformed value, an unknown `LATEBIND_` variable
or a missing required one stops the start with one line that names it. An empty variable counts as not set.

`latebind up` fills in what is missing: it starts PostgreSQL, Valkey and the mail sink, makes every key under
`var/secrets` on first use, and hands all of it to the processes it starts. The render process is never given the
database address, the queue address, the relay, the subject key or the session key.

| variable | default | meaning |
|---|---|---|
"""
TAIL = """
Keys: 🔑 marks a secret. Make one with `python3 -c "import secrets; print(secrets.token_hex(32))"`, a token key with
`token_hex(64)`. Token keys are rotated by adding a new `id:key` at the end; keep old ones for as long as mails made
with them may be opened.
"""


def page() -> str:
    """The whole document."""
    rows = [
        f"| `{setting.variable}`{' 🔑' if setting.secret else ''} | {_default(setting.default)} | {setting.help} |"
        for setting in SETTINGS
    ]
    return HEAD + "\n".join(rows) + "\n" + TAIL


def _default(text: str) -> str:
    if not text:
        return "not set"
    return text if "`" in text or text == "number of cores" or text == "bind address and port" else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page())
