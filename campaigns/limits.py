"""Rate limits of the pages, counted beside the job queues so that all processes share them."""

from __future__ import annotations

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from base import stores

limiter = Limiter(key_func=get_remote_address, headers_enabled=False)


def install(app: Flask, redis_url: str) -> None:
    """Count in the server at this address, never a cluster; where it is away, in memory."""
    app.config.update(
        RATELIMIT_STORAGE_URI=redis_url.replace("valkeys://", "rediss://", 1).replace("valkey://", "redis://", 1),
        RATELIMIT_STORAGE_OPTIONS=stores.patience(),
        RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=True,
        RATELIMIT_IN_MEMORY_FALLBACK="60 per minute",
        RATELIMIT_KEY_PREFIX="limits",
    )
    limiter.init_app(app)
