"""schemathesis over our own /openapi.json: whatever it allows is answered as it says."""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.engine.engine_fakes import make_engine
from tests.engine.server.rig import MESSAGES
from tests.engine.server.writers import Babbler
from vllm_local.server.app import create_app
from vllm_local.server.settings import ServerSettings

schemathesis = pytest.importorskip("schemathesis", reason="needs the extra `test`")

FEW = settings(
    max_examples=15, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck), deadline=None
)
SENSIBLE: dict[str, dict] = {
    "POST /v1/chat/completions": {"messages": MESSAGES, "max_tokens": 3},
    "POST /v1/completions": {"prompt": "Hi", "max_tokens": 3},
    "POST /v1/responses": {"input": "Hi", "max_output_tokens": 3},
    "POST /v1/messages": {"messages": MESSAGES, "max_tokens": 3},
    "POST /v1/messages/count_tokens": {"messages": MESSAGES},
    "POST /tokenize": {"prompt": "Hi"},
    "POST /detokenize": {"tokens": [5]},
}
"""What random bodies would hardly ever hit: some get it beside their own fields, some instead of them."""
OTHERS = ["/v1/models", "/v1/models/{name}", "/health", "/ping", "/version", "/load", "/metrics", "/server_info"]
OPERATIONS = [*SENSIBLE, *(f"GET {path}" for path in OTHERS), "POST /v1/embeddings", "POST /reset_prefix_cache"]


@pytest.fixture(scope="module")
def operations():
    # Its model keeps to grammars, as every model does.
    with make_engine(Babbler()) as engine:
        schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(engine, ServerSettings()))
        yield {result.ok().label: result.ok() for result in schema.get_all_operations()}


def test_every_operation_is_checked(operations):
    assert set(OPERATIONS) == set(operations)


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_description_allows_is_answered_as_it_says(operations, label):
    operation = operations[label]
    # A 400 for values that make no sense is documented, but no schema can say which those are.
    excluded = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    statuses = []

    @FEW
    @given(case=operation.as_strategy(), sense=st.sampled_from(["none", "some", "all"]))
    def check(case, sense):
        if sense != "none" and isinstance(case.body, dict):
            case.body = {**(case.body if sense == "some" else {}), **SENSIBLE[label]}
        if sense != "none" and case.path_parameters:
            case.path_parameters = {"name": "vllm-local-starter"}
        response = case.call_and_validate(excluded_checks=excluded)
        statuses.append(response.status_code)
        assert "Internal server error" not in response.text

    check()
    assert 200 in statuses or label == "POST /v1/embeddings"


def test_streams_are_described(operations):
    for label in ("POST /v1/chat/completions", "POST /v1/completions", "POST /v1/responses", "POST /v1/messages"):
        operation = operations[label]
        case = operation.Case(body={**SENSIBLE[label], "stream": True}, media_type="application/json")
        response = case.call_and_validate()
        assert response.headers["content-type"][0].startswith("text/event-stream")
        assert json.loads(next(line for line in response.text.splitlines() if line.startswith("data: "))[6:])
