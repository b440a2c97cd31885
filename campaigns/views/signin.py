"""Signing in and out."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from campaigns import admin_log, people
from campaigns.access import SignedIn, public
from campaigns.admin_log import Actor
from campaigns.limits import limiter
from campaigns.parts import parts
from campaigns.views.acting import actor

pages = Blueprint("signin", __name__)


def _account() -> str:
    """The account that is tried, so that many machines together get no more tries at it than one; never its address."""
    address = request.form.get("email", "").strip().lower()
    return hmac.digest(parts().settings.session_key, f"account {address}".encode(), "sha256").hex()


@pages.get("/sign-in")
@public
def form() -> ResponseReturnValue:
    """The form; somebody already signed in goes on."""
    if current_user.is_authenticated:
        return redirect(_next())
    return render_template("signin.html", next=_next())


@pages.post("/sign-in")
@public
@limiter.limit("10 per minute")
@limiter.limit("20 per minute", key_func=_account)
def enter() -> ResponseReturnValue:
    """Check the password. The answer does not tell whether the address is known."""
    now = parts().now()
    with parts().transaction() as session:
        user = people.authenticate(session, request.form.get("email", ""), request.form.get("password", ""), now)
        signed_in = None
        if user is not None:
            signed_in = SignedIn(user, people.sign_in(session, user, now))
            admin_log.record(session, Actor("user", user.id, request.remote_addr), "sign in", "user", user.id, now)
    if signed_in is None:
        flash("That address and password do not go together.", "error")
        return render_template("signin.html", next=_next(), email=request.form.get("email", "")), 401
    login_user(signed_in)
    return redirect(_next())


@pages.post("/sign-out")
@public
def leave() -> ResponseReturnValue:
    """End the session."""
    if current_user.is_authenticated:
        with parts().transaction() as session:
            people.sign_out(session, current_user.token)
            admin_log.record(session, actor(), "sign out", "user", current_user.id, parts().now())
    logout_user()
    return redirect(url_for("signin.form"))


def _next() -> str:
    """Where to go afterwards: a path of ours, never another site."""
    wanted = request.values.get("next", "")
    try:
        elsewhere = bool(urlsplit(wanted).netloc)
    except ValueError:
        elsewhere = True
    inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not elsewhere
    return wanted if inside else url_for("home.index")
