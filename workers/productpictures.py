"""Fetching product pictures: what is due is downloaded, cleaned, kept by its hash, and told to the next open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from base import logs
from base.blobs import FolderBlobs
from base.clock import Clock
from base.db import transaction
from base.errors import InvalidInput
from campaigns.cleaning import Clean, cleaned
from signals import productpictures
from signals.intake import Intake
from signals.products import publish_products

TOGETHER: Final = 4
"""Downloads at a time: they wait for other servers, and each is decoded in a process of its own."""
MAX_A_JOB: Final = 400
"""What one job fetches at most; 100 rounds that all time out end within the hour that a job may take."""
_log = logs.logger(__name__)


@dataclass
class Fetched:
    """What a run did."""

    kept: int = 0
    failed: int = 0


class PictureFetcher:
    """Fetches the pictures of products. `get` reads a link and is Downloads.get: nothing else may follow one."""

    def __init__(self, intake: Intake, blobs: FolderBlobs, clock: Clock, *, get: Callable[[str], bytes]) -> None:
        self._intake = intake
        self._blobs = blobs
        self._clock = clock
        self._get = get

    def run(self, most: int = MAX_A_JOB) -> Fetched:
        """Fetch what is due, at most `most`. Raises Unavailable; what was claimed then comes round again."""
        done = Fetched()
        with ThreadPoolExecutor(TOGETHER, "pictures") as pool:
            while done.kept + done.failed < most and (due := self._claim()):
                outcomes = pool.map(self._fetch, [link for _, link in due])
                for (product_id, link), outcome in zip(due, outcomes, strict=True):
                    self._settle(product_id, link, outcome, done)
        return done

    def _claim(self) -> list[tuple[str, str]]:
        with transaction(self._intake.sessions) as session:
            return productpictures.claim(session, self._clock.now(), TOGETHER)

    def _fetch(self, link: str) -> Clean | str:
        """The clean picture, or why there is none."""
        try:
            return cleaned(self._get(link), "image_link")
        except InvalidInput as error:
            return error.message

    def _settle(self, product_id: str, link: str, outcome: Clean | str, done: Fetched) -> None:
        now = self._clock.now()
        if isinstance(outcome, str):
            done.failed += 1
            self._intake.settle(partial(productpictures.fail, product_id=product_id, link=link, fault=outcome, now=now))
            _log.info("a product picture was not fetched", product=product_id, reason=outcome)
            return
        done.kept += 1
        digest = self._blobs.put(outcome.body)
        keep = partial(productpictures.keep, product_id=product_id, link=link, digest=digest, now=now)
        if self._intake.settle(keep):
            publish_products(self._intake, [product_id])
