"""What schemathesis must leave alone: the operator that it is itself. Without it, every later answer would be 401.

Loaded by schemathesis, which tests/admin_contract.rs runs; KEYGATE_TEST_OPERATOR is the operator's id.
"""

import os

import schemathesis

SELF = os.environ["KEYGATE_TEST_OPERATOR"]


@schemathesis.hook
def filter_case(context, case):
    return (case.path_parameters or {}).get("id") != SELF
