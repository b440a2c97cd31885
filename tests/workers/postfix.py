"""A relay as people have one: Postfix with TLS, and OpenDKIM to check what passes.

Both run from one folder on free ports of loopback. What they take goes on to a server of the test's.
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
from tests.postfix import PATH, START_SECONDS, Postfix, lacking, told

PROGRAMS: Final = ("postfix", "opendkim")
_SETTINGS: Final = """\
myhostname = relay.example.com
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{ {gone} = 550 5.1.1 no such mailbox }} }}, permit_mynetworks
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {certificate}
smtpd_milters = inet:127.0.0.1:{milter}
milter_default_action = tempfail
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:{next}
default_transport = smtp
"""
_SERVICES: Final = """\
tlsmgr unix - - n 1000? 1 tlsmgr
smtp unix - - n - - smtp
relay unix - - n - - smtp
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
    return told(lacking(*PROGRAMS))


class CheckingRelay:
    """The relay. It refuses `gone`, hands the others' mails on to `next_port`, and asks `dns` (`host:port`)."""

    def __init__(self, folder: Path, certificate: Path, next_port: int, dns: str, gone: str) -> None:
        self.folder = folder
        self._postfix, self._milter = Postfix(folder), free_port()
        self.port = self._postfix.port
        self._certificate = certificate
        self._next = next_port
        self._dns = dns
        self._gone = gone
        self._filter: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers. Raises AssertionError with what was logged."""
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
        settings = _SETTINGS.format(certificate=certificate, milter=self._milter, next=self._next, gone=self._gone)
        self._await_answer(self._milter)
        self._postfix.start(settings, _SERVICES)
        self._await_answer(self.port)

    def stop(self) -> None:
        """End both, each by its own pid."""
        self._postfix.stop()
        if self._filter is not None:
            # It would look for a milder signal every five seconds, and has nothing to lose.
            self._filter.kill()
            self._filter.wait()

    def log(self) -> str:
        """What both have said."""
        files = [self.folder / name for name in ("postfix.log", "postfix.out", "opendkim.out")]
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in files if path.exists())

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
