"""A relay as people have one: Debian's Postfix, with TLS, and OpenDKIM to check what passes..

Both run from one folder on free ports of loopback. Postfix must be started by root, gives up its rights itself, and has
to walk to the folder. What it takes goes on to a server of the test's.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

from base.clock import monotonic, pause
from base.processes import free_port

PROGRAMS: Final = ("postfix", "opendkim")
PATH: Final = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
START_SECONDS: Final = 60.0

_MAIN_CF: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = relay.example.com
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{ {gone} = 550 5.1.1 no such mailbox }} }}, permit_mynetworks
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {certificate}
smtpd_milters = inet:127.0.0.1:{milter}
milter_default_action = tempfail
mydestination =
alias_maps =
local_recipient_maps =
disable_dns_lookups = yes
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:{next}
default_transport = smtp
"""
_SERVICES: Final = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
_OPENDKIM: Final = """\
Mode v
Socket inet:{milter}@127.0.0.1
AlwaysAddARHeader yes
AuthservID relay.example.com
ResolverConfiguration {folder}/unbound.conf
InternalHosts {folder}/nobody
PeerList {folder}/nobody
Syslog no
"""
_UNBOUND: Final = """\
server:
  do-not-query-localhost: no
forward-zone:
  name: "."
  forward-addr: {address}@{port}
"""


def missing() -> str:
    """What this machine lacks to run it, as words for a person; empty when nothing."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if lacking:
        return f"no {', '.join(lacking)}: on Debian, install what .ci/run installs"
    return "" if os.geteuid() == 0 else "Postfix can be started by root only"


class Postfix:
    """The relay. It refuses `gone`, hands the others' mails on to `next_port`, and asks `dns` (`host:port`)."""

    def __init__(self, folder: Path, certificate: Path, next_port: int, dns: str, gone: str) -> None:
        self.folder = folder
        self.port, self._milter = free_port(), free_port()
        self._certificate = certificate
        self._next = next_port
        self._dns = dns
        self._gone = gone
        self._filter: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers. Raises AssertionError with what was logged."""
        for name in ("postfix", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        address, _, port = self._dns.partition(":")
        (self.folder / "nobody").write_text("192.0.2.1\n")
        (self.folder / "unbound.conf").write_text(_UNBOUND.format(address=address, port=port))
        (self.folder / "opendkim.conf").write_text(_OPENDKIM.format(folder=self.folder, milter=self._milter))
        with (self.folder / "opendkim.out").open("ab") as output:
            command = ["opendkim", "-f", "-x", str(self.folder / "opendkim.conf")]
            self._filter = subprocess.Popen(
                command, env=os.environ | {"PATH": PATH}, stdout=output, stderr=output, start_new_session=True
            )
        certificate = self.folder / "relay.pem"
        shutil.copy(self._certificate, certificate)
        settings = _MAIN_CF.format(
            folder=self.folder, certificate=certificate, milter=self._milter, next=self._next, gone=self._gone
        )
        (self.folder / "postfix" / "main.cf").write_text(settings)
        (self.folder / "postfix" / "master.cf").write_text(f"127.0.0.1:{self.port} inet n - n - - smtpd\n{_SERVICES}")
        self._await_answer(self._milter)
        self._run("start")
        self._await_answer(self.port)

    def stop(self) -> None:
        """End both, each by its own pid."""
        if (self.folder / "queue" / "pid" / "master.pid").exists():
            # `stop` would wait for seconds, for mails that nobody misses here.
            self._run("abort")
        if self._filter is not None:
            # It would look for a milder signal every five seconds, and has nothing to lose.
            self._filter.kill()
            self._filter.wait()

    def log(self) -> str:
        """What both have said."""
        files = [self.folder / name for name in ("postfix.log", "postfix.out", "opendkim.out")]
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in files if path.exists())

    def _run(self, what: str) -> None:
        """Start or stop Postfix. Its output goes to a file: daemons it leaves behind would hold a pipe open."""
        with (self.folder / "postfix.out").open("ab") as output:
            subprocess.run(
                ["postfix", "-c", str(self.folder / "postfix"), what],
                env=os.environ | {"PATH": PATH}, stdout=output, stderr=output, check=True, timeout=60,
            )  # fmt: skip

    def _await_answer(self, port: int) -> None:
        deadline = monotonic() + START_SECONDS
        while monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                pause(0.05)
            else:
                return
        raise AssertionError(f"nothing answers on port {port}:\n{self.log()}")
