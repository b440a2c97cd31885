"""A mailbox as people have one: Postfix takes mail in, Dovecot keeps it, Roundcube shows it in a browser.

All three are Debian's own programs with configurations of ours, in one folder, on loopback, on free ports; nothing can
leave the machine.
"""

from __future__ import annotations

import email
import imaplib
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Final

from base.clock import monotonic, pause
from base.processes import free_port
from tests.postfix import PATH, START_SECONDS, Postfix, lacking, told

DOMAIN: Final = "customer.test"
PASSWORD: Final = "secret"
WEBMAIL_HOST: Final = "127.0.0.2"
"""Not the host of the pictures: cookies know no ports, so the webmail's session would be sent to them."""
ROUNDCUBE: Final = Path("/var/lib/roundcube")
ROUNDCUBE_DEFAULTS: Final = Path("/etc/roundcube")
PROGRAMS: Final = ("postfix", "dovecot", "php")

_POSTFIX: Final = """\
myhostname = mx.{domain}
virtual_mailbox_domains = {domain}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
default_transport = error:5.4.4 this mail server sends nothing to others
"""
_DOVECOT: Final = """\
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u allow_all_users=yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service anvil {{
  chroot =
}}
namespace inbox {{
  inbox = yes
}}
"""
_ROUNDCUBE: Final = """\
<?php
$config = [
    'db_dsnw' => 'sqlite:///{folder}/roundcube.db?mode=0640',
    'imap_host' => '127.0.0.1:{imap}',
    'smtp_host' => '127.0.0.1:{smtp}',
    'smtp_user' => '',
    'smtp_pass' => '',
    'des_key' => '{key}',
    'log_dir' => '{folder}/roundcube/',
    'temp_dir' => '{folder}/roundcube/',
    'language' => 'en_US',
    'skin' => 'elastic',
    'plugins' => [],
    'enable_spellcheck' => false,
    'show_images' => 0,
];
"""


def missing() -> str:
    """What this machine lacks to run a mailbox, as words for a person; empty when nothing."""
    is_webmail = (ROUNDCUBE / "public_html" / "index.php").exists()
    return told([*lacking(*PROGRAMS), *([] if is_webmail else ["roundcube"])])


class Mailbox:
    """A mail server for everybody @customer.test and a webmail in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._postfix = Postfix(folder)
        self.smtp = self._postfix.port
        self.imap, self._lmtp, self._web = (free_port() for _ in range(3))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def smtp_url(self) -> str:
        """Where mail is handed over."""
        return f"smtp://127.0.0.1:{self.smtp}"

    @property
    def webmail_url(self) -> str:
        """Where people read it."""
        return f"http://{WEBMAIL_HOST}:{self._web}"

    def start(self) -> None:
        """Return when all three answer. Raises AssertionError with what the silent one has logged."""
        self._start_dovecot()
        self._postfix.start(_POSTFIX.format(domain=DOMAIN, lmtp=self._lmtp), "lmtp unix - - n - - lmtp\n")
        self._start_roundcube()
        self._await_answer("127.0.0.1", self.smtp, "postfix")
        self._await_answer("127.0.0.1", self._lmtp, "dovecot")
        self._await_answer("127.0.0.1", self.imap, "dovecot")
        self._await_answer(WEBMAIL_HOST, self._web, "php")

    def stop(self) -> None:
        """End everything that was started, each by its own pid."""
        self._postfix.stop()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def messages(self, address: str) -> list[Message]:
        """What an address has in its inbox, in order of arrival, headers undecoded. Looking marks nothing as read."""
        with imaplib.IMAP4("127.0.0.1", self.imap, timeout=30) as server:
            server.login(address, PASSWORD)
            server.select("INBOX", readonly=True)
            numbers = server.search(None, "ALL")[1][0].split()
            kept = []
            for number in numbers:
                part = server.fetch(number.decode(), "(BODY.PEEK[])")[1][0]
                assert isinstance(part, tuple)
                kept.append(email.message_from_bytes(part[1]))
            return kept

    def _start_dovecot(self) -> None:
        (self.folder / "mail").mkdir()
        shutil.chown(self.folder / "mail", "mail", "mail")
        (self.folder / "dovecot").mkdir()
        settings = _DOVECOT.format(folder=self.folder, password=PASSWORD, imap=self.imap, lmtp=self._lmtp)
        (self.folder / "dovecot.conf").write_text(settings)
        self._keep(["dovecot", "-F", "-c", str(self.folder / "dovecot.conf")], {})

    def _start_roundcube(self) -> None:
        place = self.folder / "roundcube"
        place.mkdir()
        for name in ("defaults.inc.php", "mimetypes.php"):
            shutil.copy(ROUNDCUBE_DEFAULTS / name, place)
        key = secrets.token_hex(12)
        settings = _ROUNDCUBE.format(folder=self.folder, imap=self.imap, smtp=self.smtp, key=key)
        (place / "config.inc.php").write_text(settings)
        with closing(sqlite3.connect(self.folder / "roundcube.db")) as database:
            database.executescript((ROUNDCUBE / "SQL" / "sqlite.initial.sql").read_text())
        site = ROUNDCUBE / "public_html"
        self._keep(["php", "-S", f"{WEBMAIL_HOST}:{self._web}", "-t", str(site)], {"ROUNDCUBE_CONFIG_DIR": f"{place}/"})

    def _keep(self, command: Sequence[str], environ: dict[str, str]) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    command,
                    env=os.environ | {"PATH": PATH} | environ,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _await_answer(self, host: str, port: int, name: str) -> None:
        deadline = monotonic() + START_SECONDS
        while monotonic() < deadline:
            try:
                socket.create_connection((host, port), timeout=5).close()
            except OSError:
                pause(0.1)
            else:
                return
        logs = [path for path in self.folder.glob(f"{name}.*") if path.suffix in {".log", ".out"}]
        told = "\n".join(path.read_text(errors="replace")[-2000:] for path in logs)
        raise AssertionError(f"{name} does not answer on port {port}:\n{told}")
