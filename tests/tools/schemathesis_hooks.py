"""What no schema can tell schemathesis about the API.

Loaded by schemathesis, which tests/admin_contract.rs runs; KEYGATE_TEST_OPERATOR is the id of the operator that it is.
"""

import ipaddress
import os
from datetime import datetime, timezone

import schemathesis
from hypothesis import strategies

SELF = os.environ["KEYGATE_TEST_OPERATOR"]

# Keys expire in the future.
schemathesis.openapi.format("date-time", strategies.sampled_from(["2098-01-31T12:00:00Z", "2099-12-31T23:59:59.999Z"]))


@schemathesis.hook
def filter_case(context, case):
    # Without the operator that asks, every later answer would be 401.
    if (case.path_parameters or {}).get("id") == SELF:
        return False
    # A cursor is what a list gave, and a revision what the key has: those of the right form alone are refused.
    # tests/admin_lists.rs and tests/admin_api.rs try them.
    if "cursor" in (case.query or {}) or (case.headers or {}).get("If-Match", "*") != "*":
        return False
    body = case.body if isinstance(case.body, dict) else {}
    # Times of earlier answers are well-formed and in the past; texts of hex digits and colons are seldom networks.
    return not is_past(body.get("expires_at")) and are_networks(body.get("allowed_networks"))


def is_past(time):
    try:
        return datetime.fromisoformat(time) <= datetime.now(timezone.utc)
    except (TypeError, ValueError):
        return False


def are_networks(texts):
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return True
    try:
        return [ipaddress.ip_network(text, strict=False) for text in texts] is not None
    except ValueError:
        return False
