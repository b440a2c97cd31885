"""Who acts in the present request, for the logs."""

from __future__ import annotations

from flask import g, request
from flask_login import current_user

from campaigns.admin_log import KEY, Actor


def actor() -> Actor:
    """The signed-in person, or the API key, with the network address the request came from."""
    key = g.get("api_key")
    if key is not None:
        return Actor(f"{KEY}{key.id}", None, request.remote_addr)
    return Actor("user", int(current_user.id), request.remote_addr)
