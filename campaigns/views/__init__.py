"""The pages, a file a screen. Each view parses, calls one thing, answers; each says who may use it."""

from campaigns.views import (
    arms,
    calls,
    campaigns,
    checks,
    creatives,
    customers,
    exploring,
    health,
    home,
    matrix,
    models,
    offers,
    pictures,
    preview,
    relations,
    running,
    scenarios,
    scores,
    sending,
    signin,
    system,
    takers,
)

BLUEPRINTS = tuple(
    module.pages
    for module in (
        health,
        signin,
        home,
        campaigns,
        checks,
        scenarios,
        running,
        preview,
        exploring,
        matrix,
        arms,
        offers,
        takers,
        creatives,
        pictures,
        relations,
        scores,
        models,
        customers,
        calls,
        system,
        sending,
    )
)
