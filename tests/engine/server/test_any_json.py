"""Whatever JSON comes, nothing breaks: an answer, or a 400 that says why."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.engine_fakes import make_engine
from tests.engine.server.rig import MESSAGES
from vllm_local.server.app import create_app
from vllm_local.server.protocol.chat import ChatCompletionRequest
from vllm_local.server.protocol.completions import CompletionRequest
from vllm_local.server.protocol.messages import MessagesRequest
from vllm_local.server.protocol.responses import ResponsesRequest
from vllm_local.server.protocol.tokenize import DetokenizeRequest, TokenizeRequest
from vllm_local.server.settings import ServerSettings
from vllm_local.server.unsupported import _NEVER, _NOT_YET

ROUTES: dict[str, tuple[Any, dict[str, Any]]] = {
    "/v1/chat/completions": (ChatCompletionRequest, {"messages": MESSAGES, "max_tokens": 3}),
    "/v1/completions": (CompletionRequest, {"prompt": "Hi", "max_tokens": 3}),
    "/v1/responses": (ResponsesRequest, {"input": "Hi", "max_output_tokens": 3}),
    "/v1/messages": (MessagesRequest, {"messages": MESSAGES, "max_tokens": 3}),
    "/v1/messages/count_tokens": (MessagesRequest, {"messages": MESSAGES}),
    "/tokenize": (TokenizeRequest, {}),
    "/detokenize": (DetokenizeRequest, {"tokens": [1]}),
}
MANY = {"n", "best_of"}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["none", "auto", "left", "fox", "text", "user", "assistant", "{{ x.y.z }}", "\ud800"]),
)
KEYS = st.sampled_from(["role", "content", "type", "text", "effort", "format", "5", "include_usage", "function", "x"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


@pytest.mark.parametrize("path", ROUTES)
def test_nothing_breaks(path):
    model, base = ROUTES[path]
    names = [name for name in (*model.model_fields, *_NOT_YET, *_NEVER, "best_of") if name not in MANY]
    with make_engine() as engine:
        app = create_app(engine, ServerSettings(trust_request_chat_template=True))

        @settings(max_examples=150)
        @given(fields=st.dictionaries(st.sampled_from(names), VALUES, max_size=3))
        def check(fields):
            asyncio.run(post({**base, **fields}))

        async def post(body):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                content, headers = json.dumps(body), {"Content-Type": "application/json"}
                response = await client.post(path, content=content, headers=headers)
            assert response.status_code in {200, 400, 404}, response.text
            assert "Internal server error" not in response.text
            if response.status_code != 200:
                assert response.json()["error"]["message"]

        check()
