import pytest

from tests.engine.engine_fakes import make_engine, make_tokenizer
from tests.engine.server.rig import MESSAGES
from vllm_local.server.text_limit import ALWAYS_READ, TextLimit

LONG = "a" * (ALWAYS_READ + 1)
BODIES: dict[str, dict] = {
    "/v1/completions": {"prompt": LONG},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": LONG}]},
    "/v1/responses": {"input": LONG},
    "/v1/messages": {"messages": [{"role": "user", "content": LONG}], "max_tokens": 3},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": LONG}]},
    "/tokenize": {"prompt": LONG},
}


@pytest.mark.parametrize("path", BODIES)
async def test_a_text_that_cannot_fit_is_not_tokenised(server, monkeypatch, path):
    def encode(text, add_special_tokens=True):
        raise AssertionError("it was tokenised")

    monkeypatch.setattr(server.engine.tokenizer, "encode", encode)
    response = await server.post(path, **BODIES[path])
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert message.startswith("This model's maximum context length is 128 tokens. However, your prompt has 1048")


async def test_what_is_cut_may_be_longer(server, monkeypatch):
    monkeypatch.setattr("vllm_local.server.text_limit.ALWAYS_READ", 5000)
    text = "".join(f"{number} " for number in range(20_000))
    assert len(text) > 4 * server.context.text_limit.num_characters
    for side, kept in (("left", slice(-9, None)), ("right", slice(9))):
        body = {"truncate_prompt_tokens": 9, "truncation_side": side, "return_token_ids": True}
        answer = (await server.complete(prompt=text, add_special_tokens=False, **body)).json()
        expected = make_tokenizer().encode(text[:500] if side == "right" else text[-500:], add_special_tokens=False)
        assert answer["choices"][0]["prompt_token_ids"] == expected[kept]
        response = await server.chat(messages=[*MESSAGES, {"role": "user", "content": text}], **body)
        assert len(response.json()["prompt_token_ids"]) == 9


def test_a_long_context_allows_long_texts():
    tokenizer = make_tokenizer()
    longest = max(len(tokenizer.convert_id_to_piece(token_id) or "") for token_id in range(tokenizer.vocab_size))
    with make_engine(max_model_len=200_000) as engine:
        limit = TextLimit(engine)
        assert limit.num_characters == 4 * longest * 200_000 > ALWAYS_READ
        assert limit.check(LONG) is LONG
