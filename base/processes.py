"""Processes of this machine: free ports, what a pid runs, ending one that we started."""

from __future__ import annotations

import errno
import gc
import ipaddress
import os
import secrets
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from base.clock import monotonic, pause
from base.errors import StartError

PORTS: Final = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: one of these could take the port before it is listened on."""

_given: deque[int] = deque(maxlen=500)


def free_port() -> int:
    """A loopback TCP port that is free now, and that this process was not given a short while ago.

    Raises StartError where none is found.
    """
    for _ in range(100):
        port = secrets.choice(PORTS)
        if port not in _given:
            with suppress(OSError), socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
                _given.append(port)
                return port
    raise StartError(f"No free port was found from {PORTS[0]} to {PORTS[-1]}.")


def check_port(port: int, variable: str, host: str = "127.0.0.1") -> None:
    """Raise StartError, naming the setting to change, when something else listens on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: a port whose last connections are still winding down counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartError(f"Port {port} is taken. Stop what uses it, or set {variable}.") from None
            raise StartError(f"Cannot listen on {host} port {port}: {error.strerror}. Set {variable}.") from None


def command_line(pid: int) -> str:
    """What a process runs, its arguments separated by spaces; empty when there is no such process or it is a zombie."""
    proc = Path(f"/proc/{pid}")
    if Path("/proc/self").exists():
        try:
            return (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()


def end(pid: int, having: str, first: signal.Signals, seconds: float) -> bool:
    """End a left-over process, if its command line contains `having`: by signal `first`, after `seconds` by SIGKILL.

    Returns whether such a process was there. A process that got the pid since does not match, and is left alone.
    """
    if not having or having not in command_line(pid):
        return False
    for step in (first, signal.SIGKILL):
        try:
            os.kill(pid, step)
        except ProcessLookupError:
            return True
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            if having not in command_line(pid):
                return True
            pause(0.02)
    raise StartError(f"Process {pid}, left over from an earlier run, does not end.")


@contextmanager
def loading() -> Iterator[None]:
    """Load what stays for good without looking for garbage in it, and never look through it again.

    That is a sixth of the time of a start, and tens of milliseconds for whoever is served when all is looked through.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_way(niceness: int) -> None:
    """Let other processes of this host go first: by so much as the kernel's niceness says (0 to 19), never less."""
    os.nice(max(0, niceness - os.nice(0)))


def is_this_machine(host: str) -> bool:
    """Whether what is said to a host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
