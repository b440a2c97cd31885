"""A mailbox as people have one: Postfix takes mail in, Dovecot keeps it, Roundcube shows it in a browser.

All three are Debian's own programs with configurations of ours, in one folder, on loopback, on free ports; nothing can
leave the machine. Postfix must be started by root, gives up its rights itself, and has to walk to the folder.
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

DOMAIN: Final = "customer.test"
PASSWORD: Final = "secret"
WEBMAIL_HOST: Final = "127.0.0.2"
"""Not the host of the pictures: cookies know no ports, so the webmail's session would be sent to them."""
ROUNDCUBE: Final = Path("/var/lib/roundcube")
ROUNDCUBE_DEFAULTS: Final = Path("/etc/roundcube")
PROGRAMS: Final = ("postfix", "dovecot", "php")
PATH: Final = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
START_SECONDS: Final = 60.0

_MAIN_CF: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = mx.{domain}
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
mydestination =
alias_maps =
local_recipient_maps =
disable_dns_lookups = yes
virtual_mailbox_domains = {domain}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
default_transport = error:5.4.4 this mail server sends nothing to others
"""
_SERVICES: Final = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
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
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if not (ROUNDCUBE / "public_html" / "index.php").exists():
        lacking.append("roundcube")
    if lacking:
        return f"no {', '.join(lacking)}: on Debian, install what .ci/run installs"
    return "" if os.geteuid() == 0 else "Postfix can be started by root only"


class Mailbox:
    """A mail server for everybody @customer.test and a webmail in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.smtp, self.imap, self._lmtp, self._web = (free_port() for _ in range(4))
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
        self._start_postfix()
        self._start_roundcube()
        self._await_answer("127.0.0.1", self.smtp, "postfix")
        self._await_answer("127.0.0.1", self._lmtp, "dovecot")
        self._await_answer("127.0.0.1", self.imap, "dovecot")
        self._await_answer(WEBMAIL_HOST, self._web, "php")

    def stop(self) -> None:
        """End everything that was started, each by its own pid."""
        if (self.folder / "queue" / "pid" / "master.pid").exists():
            self._run("postfix", "-c", str(self.folder / "postfix"), "stop")
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

    def _start_postfix(self) -> None:
        place = self.folder / "postfix"
        place.mkdir()
        (self.folder / "queue").mkdir()
        (self.folder / "data").mkdir()
        shutil.chown(self.folder / "data", "postfix")
        (place / "main.cf").write_text(_MAIN_CF.format(folder=self.folder, domain=DOMAIN, lmtp=self._lmtp))
        (place / "master.cf").write_text(f"127.0.0.1:{self.smtp} inet n - n - - smtpd\n{_SERVICES}")
        self._run("postfix", "-c", str(place), "start")

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

    def _run(self, *command: str) -> None:
        """Run a command to its end. Its output goes to a file: daemons it leaves behind would hold a pipe open."""
        with (self.folder / f"{command[0]}.out").open("ab") as output:
            subprocess.run(
                command, env=os.environ | {"PATH": PATH}, stdout=output, stderr=output, check=True, timeout=60
            )

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
