"""The API: its document, its answers to whatever a program may send, and that a refusal names the field."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import CHECKS

from tests.campaigns.web import Web


def test_it_describes_itself_in_a_valid_document(web: Web) -> None:
    answer = web.stranger().get("/api/openapi.json")
    assert answer.status_code == 200
    assert [str(fault) for fault in OpenAPIV31SpecValidator(answer.json).iter_errors()] == []
    told = {(path, method) for path, verbs in answer.json["paths"].items() for method in verbs}
    assert ("/api/v1/campaigns/{campaign_id}/preview", "post") in told
    assert not [path for path, _ in told if not path.startswith("/api/v1/")]
