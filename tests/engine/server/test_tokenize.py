import pytest

from tests.engine.engine_fakes import make_tokenizer
from tests.engine.server.rig import MESSAGES

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("adds", [True, False, None])
async def test_a_text(server, adds):
    body = (await server.post("/tokenize", prompt="Hi there", add_special_tokens=adds)).json()
    tokens = make_tokenizer().encode("Hi there", add_special_tokens=adds is not False)
    assert body == {"count": len(tokens), "max_model_len": 128, "tokens": tokens, "token_strs": None}


async def test_a_conversation(server):
    body = (await server.post("/tokenize", messages=MESSAGES, return_token_strs=True)).json()
    assert body["tokens"] == server.engine.render(MESSAGES)
    assert body["token_strs"] == [make_tokenizer().convert_id_to_piece(token_id) for token_id in body["tokens"]]
    usage = (await server.chat()).json()["usage"]
    assert body["count"] == usage["prompt_tokens"]
    body = (await server.post("/tokenize", messages=MESSAGES, add_generation_prompt=False)).json()
    assert body["tokens"] == server.engine.render(MESSAGES, add_generation_prompt=False)


async def test_tools_are_counted(server):
    body = (await server.post("/tokenize", messages=MESSAGES, tools=[TOOL])).json()
    assert body["tokens"] == server.engine.render(MESSAGES, [TOOL])


async def test_special_tokens_before_a_conversation(server):
    body = (await server.post("/tokenize", messages=MESSAGES, add_special_tokens=True)).json()
    assert body["tokens"] == make_tokenizer().encode(server.engine.renderer.render(MESSAGES))


async def test_there_and_back(server):
    tokens = (await server.post("/tokenize", prompt="Grüße, 東京 👋", add_special_tokens=False)).json()["tokens"]
    assert (await server.post("/detokenize", tokens=tokens)).json() == {"prompt": "Grüße, 東京 👋"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"messages": []}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": MESSAGES}, "prompt"),
        ("/tokenize", {"prompt": "a", "model": "nope"}, "model"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
        ("/detokenize", {}, "body.tokens"),
    ],
)
async def test_what_is_wrong_is_said(server, path, body, param):
    response = await server.post(path, **body)
    assert response.status_code == (404 if param == "model" else 400)
    assert response.json()["error"]["param"] == param


async def test_they_need_no_key(serve):
    server = await serve({"api_key": ("key",)})
    assert (await server.post("/tokenize", prompt="a")).status_code == 200
