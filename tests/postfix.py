"""Debian's Postfix with a configuration of ours: in one folder, on loopback, on a free port; nothing leaves the host.

It must be started by root, gives up its rights itself, and has to walk to the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from base.processes import free_port

PATH: Final = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
START_SECONDS: Final = 60.0

_MAIN: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
mydestination =
alias_maps =
local_recipient_maps =
disable_dns_lookups = yes
"""
_SERVICES: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
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
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def lacking(*programs: str) -> list[str]:
    """Those of these programs that this machine does not have."""
    return [name for name in programs if not shutil.which(name, path=PATH)]


def told(names: Sequence[str]) -> str:
    """What is lacking as words for a person, the right to start Postfix too; empty when nothing."""
    if names:
        return f"no {', '.join(names)}: on Debian, install what .ci/run installs"
    return "" if os.geteuid() == 0 else "Postfix can be started by root only"


class Postfix:
    """One Postfix in a folder. `settings` and `services` are lines of main.cf and master.cf that come to the common."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    def start(self, settings: str, services: str) -> None:
        """Return when its master runs; it answers soon after."""
        for name in ("postfix", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        (self.folder / "postfix" / "main.cf").write_text(_MAIN.format(folder=self.folder) + settings)
        (self.folder / "postfix" / "master.cf").write_text(_SERVICES.format(port=self.port) + services)
        self._run("start")

    def stop(self) -> None:
        """End it, if it was started. `stop` would wait for seconds, for mails that nobody misses here."""
        if (self.folder / "queue" / "pid" / "master.pid").exists():
            self._run("abort")

    def _run(self, what: str) -> None:
        """Its output goes to a file: daemons it leaves behind would hold a pipe open."""
        with (self.folder / "postfix.out").open("ab") as output:
            subprocess.run(
                ["postfix", "-c", str(self.folder / "postfix"), what],
                env=os.environ | {"PATH": PATH}, stdout=output, stderr=output, check=True, timeout=60,
            )  # fmt: skip
