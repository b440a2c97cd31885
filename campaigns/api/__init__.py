"""The REST API under /api/v1: everything a page does can be done by a program with a server key.

Bodies and answers are the structs that the pages use; the document at /api/openapi.json is made from the views.
"""

from campaigns.api import (
    approvals,
    calls,
    catalogue,
    corrections,
    customers,
    exploring,
    exports,
    findings,
    lineage,
    mailreports,
    merges,
    messageevents,
    models,
    people,
    permissions,
    pictures,
    previews,
    relations,
    results,
    running,
    scenarios,
    scores,
    sending,
    sendlimits,
    system,
    takers,
    timing,
    writing,
)
from campaigns.api.desk import api, document, install

RESOURCES = (
    catalogue,
    takers,
    relations,
    pictures,
    writing,
    timing,
    running,
    scenarios,
    approvals,
    findings,
    messageevents,
    models,
    results,
    previews,
    exploring,
    customers,
    permissions,
    merges,
    lineage,
    corrections,
    calls,
    scores,
    exports,
    people,
    system,
    sending,
    sendlimits,
    mailreports,
)

__all__ = ["RESOURCES", "api", "document", "install"]
