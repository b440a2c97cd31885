"""A dry run: every mail is caught here, and no connection goes anywhere else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from base.environment import environment
from base.storeaddress import cluster_address, is_cluster
from tests.campaigns.shop import Shop
from workers.schedule import Scheduler
from workers.smtpsink import Sink

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = """
import json, os, sys
from base import db, stores
from base.blobs import blobs_from
from base.clock import clock_from
from base.vault import Vault
from base.settings import Settings
from workers.sending import Sender

seen = set()
sys.addaudithook(lambda event, values: seen.add(str(values[1])) if event == "socket.connect" else None)
settings = Settings.from_environment(os.environ)
engine = db.connect(settings.database_url, vault=Vault.of(settings))
sender = Sender(settings, db.sessions(engine), stores.connect(settings.redis_url),
                blobs_from(settings), clock_from(settings))
report = sender.send(json.loads(sys.argv[1]))
sender.close()
print(json.dumps({"states": report.states, "connected": sorted(seen)}))
"""


@pytest.mark.feature("OP-19")
def test_it_sends_a_dry_run_to_the_sink_and_opens_no_other_socket(
    shop: Shop, scheduler: Scheduler, tmp_path: Path
) -> None:
    names = [f"p{number}" for number in range(12)]
    shop.people(*names)
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = sorted(row.id for row in shop.ledger(campaign))
    callers: list[object] = []
    with socket.create_server(("127.0.0.2", 0)) as trap:
        trap.settimeout(60)
        threading.Thread(target=lambda: callers.append(trap.accept()), daemon=True).start()
        relay = f"smtp://user:password@127.0.0.2:{trap.getsockname()[1]}"
        settings = replace(shop.settings, smtp_url=relay, dry_run=True)
        sink = Sink(tmp_path / "inbox", settings.smtp_port, shop.clock)
        sink.start()
        try:
            outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(ids)], cwd=ROOT, env=outer | environment(settings),
                capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            caught = sorted(mail.recipients[0] for mail in sink.inbox.listed(count=100))
        finally:
            sink.stop()
        assert callers == []
    assert caught == sorted(f"{name}@example.com" for name in names)
    store = settings.redis_url
    nodes = cluster_address(store).places if is_cluster(store) else (urlsplit(store),)
    allowed = {place.port for place in (urlsplit(settings.database_url), *nodes)} | {settings.smtp_port}
    told = done.stdout.strip()
    assert '"accepted": 12' in told
    connected = told.partition('"connected": ')[2]
    ours = [f"('127.0.0.1', {port})" for port in sorted(port for port in allowed if port)]
    # The database driver connects below Python, so the hook sees the store and the sink: nothing else.
    for address in connected.strip("[]}").split('", "'):
        assert address.strip('"[] ') in ours, address
