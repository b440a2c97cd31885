"""The order of the test files: the longest first, so that the processes of xdist end together.

Files that share a running installation go to one process, for each process would start one of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from xdist.scheduler import LoadFileScheduling

SHARING: Final = {
    "ground": (
        "tests/promises/test_alarms.py", "tests/promises/test_click_follows_sight.py", "tests/promises/test_fresh.py",
        "tests/promises/test_honest.py", "tests/promises/test_kill_switch.py", "tests/promises/test_never_broken.py",
        "tests/promises/test_never_wrong.py", "tests/promises/test_once.py", "tests/promises/test_one_open.py",
        "tests/promises/test_proof.py", "tests/promises/test_tracking.py",
    ),
    "life": (
        "tests/campaigns/test_audit.py", "tests/campaigns/test_erasure.py", "tests/campaigns/test_previewing.py",
        "tests/campaigns/test_reports.py",
    ),
    "visits": ("tests/browser/test_journey.py", "tests/browser/test_looks.py"),
}  # fmt: skip
"""The files by the fixture that starts their installation."""
SECONDS: Final = {
    "ground": 400, "life": 200, "visits": 235,
    "tests/test_architecture.py": 20, "tests/evaluation_sets/test_duplicates.py": 30,
    "tests/browser/test_first_campaign.py": 45, "tests/browser/test_mailbox.py": 40,
    "tests/campaigns/test_access.py": 50, "tests/campaigns/test_access_logs.py": 20,
    "tests/campaigns/test_api.py": 85, "tests/campaigns/test_pages.py": 45,
    "tests/campaigns/test_product_page.py": 12, "tests/campaigns/test_products_pages.py": 14,
    "tests/promises/test_cluster.py": 45, "tests/promises/test_failover.py": 20, "tests/promises/test_year.py": 25,
    "tests/render/test_abuse.py": 10, "tests/render/test_agree.py": 17, "tests/render/test_app.py": 30,
    "tests/render/test_draw.py": 16, "tests/render/test_draw_stress.py": 13,
    "tests/signals/test_any_order.py": 13, "tests/signals/test_faults.py": 40,
    "tests/signals/test_fold.py": 28, "tests/signals/test_lineage.py": 17, "tests/signals/test_product_changes.py": 25,
    "tests/signals/test_rules_sql.py": 40, "tests/signals/test_sdk.py": 20, "tests/signals/test_shops.py": 20,
    "tests/signals/test_tabular.py": 25, "tests/workers/test_calls.py": 17,
    "tests/workers/test_demo_story.py": 300, "tests/workers/test_hindsight.py": 22,
    "tests/workers/test_lost_node.py": 65, "tests/workers/test_outcomes.py": 48, "tests/workers/test_retention.py": 28,
    "tests/workers/test_sending_killed.py": 35, "tests/workers/test_sending_processes.py": 17,
    "tests/workers/test_training.py": 24, "tests/workers/test_up.py": 75,
}  # fmt: skip
"""What the long ones take on two cores, roughly; `pytest --durations=0` tells. Others take a tenth a test."""
_SHARED: Final = {path: fixture for fixture, paths in SHARING.items() for path in paths}


class SharedScheduling(LoadFileScheduling):  # type: ignore[misc]  # The package has no types.
    """Files that share an installation go to one process as if they were one file."""

    def _split_scope(self, nodeid: str) -> str:
        return whole(nodeid)


def whole(nodeid: str) -> str:
    """What the test stays together with: its file, or those that share the installation."""
    path = nodeid.partition("::")[0]
    return _SHARED.get(path, path)


def longest_first(nodeids: Iterable[str]) -> list[str]:
    """The tests in the order in which they begin; within one file as they stand there."""
    listed = list(nodeids)
    tests = Counter(map(whole, listed))
    return sorted(listed, key=lambda nodeid: (-SECONDS.get(whole(nodeid), tests[whole(nodeid)] / 10), whole(nodeid)))
