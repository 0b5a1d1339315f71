import json
from random import Random

import pytest

from tests.engine.starter.held_out import held_out_files, held_out_leaks, plain, read_held_out, template_of
from tests.engine.starter.leakage import standard_test_leaks
from tests.engine.starter.standard_tests import read_standard_tests
from vllm_local.starter.evaluation.sample import sample_of
from vllm_local.starter.evaluation.skills import SKILLS, draw_samples
from vllm_local.starter.generator import draw_conversation
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.messages import assistant, exchange, user
from vllm_local.starter.skills.tool_calls import several_calls
from vllm_local.starter.source import Source
from vllm_local.starter.tokenizer import render

CONVERSATIONS = 12_000
ROOMS = (256, 512, 1024, 2304)


def tool(name, **types):
    properties = {key: {"type": kind} for key, kind in types.items()}
    return {"function": {"name": name, "description": "", "parameters": {"properties": properties}}}


def call(name, **arguments):
    return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


@pytest.fixture(scope="module")
def conversations():
    rng = Random(2024)
    return [draw_conversation(rng, room=ROOMS[index % len(ROOMS)]) for index in range(CONVERSATIONS)]


@pytest.fixture(scope="module")
def standard_tests():
    return read_standard_tests() or pytest.skip("langchain-tests is not installed")


@pytest.fixture(scope="module")
def held_out():
    return read_held_out()


def test_same_seed_same_conversations():
    first, second = ([draw_conversation(Random(f"7/{i}"), room=512) for i in range(200)] for _ in range(2))
    assert first == second


def test_every_conversation_ends_with_an_answer(conversations):
    last = [conversation.messages[-1] for conversation in conversations]
    assert {message["role"] for message in last} == {"assistant"}
    assert all(message["content"].strip() or message.get("tool_calls") for message in last)


def test_called_tools_are_offered(conversations):
    for conversation in conversations:
        offered = {one["function"]["name"] for one in conversation.tools}
        for message in conversation.messages:
            assert {one["function"]["name"] for one in message.get("tool_calls") or ()} <= offered


def test_several_calls_are_many_requests_with_calls_and_without_results():
    for seed in range(50):
        messages = [message for message in several_calls(Source(Random(seed))).messages if message["role"] != "system"]
        assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert sum("tool_calls" in message for message in messages) >= 1
        assert len(messages) >= 4


def test_all_content_can_be_encoded(conversations):
    text = json.dumps([[one.messages, one.tools] for one in conversations], ensure_ascii=False)
    text.encode()


def test_the_standard_tests_are_read(standard_tests):
    assert "Tell me a joke about cats." in standard_tests.prompts
    assert {"magic_function", "my_adder_tool", "get_weather", "color_picker", "random_image", "Joke"} <= (
        standard_tests.names
    )
    assert {
        frozenset({("a", "integer"), ("b", "integer")}),
        frozenset({("setup", "string"), ("punchline", "string")}),
        frozenset({("fav_color", "string")}),
    } <= standard_tests.schemas


def test_nothing_of_the_standard_tests_is_in_the_training_data(conversations, standard_tests):
    assert standard_test_leaks(conversations, standard_tests) == set()


@pytest.mark.parametrize(
    ("conversation", "leak"),
    [
        (Conversation(exchange("Well: TELL ME a  joke\nabout cats. Now!", "No.")), "Tell me a joke about cats."),
        (Conversation([user("Hi"), call("get_weather", city="Vark")]), "get_weather"),
        (Conversation([user("Use my_adder_tool."), assistant("No.")]), "my_adder_tool"),
        (Conversation([user("Hi"), assistant("No.")], tools=(tool("joke", topic="string"),)), "Joke"),
        (
            Conversation([user("Hi"), assistant("No.")], tools=(tool("f", a="integer", b="integer"),)),
            "[('a', 'integer'), ('b', 'integer')]",
        ),
        (Conversation([user("Hi"), call("f", location="Vark")]), "[('location', 'string')]"),
        (
            Conversation(exchange('Fill {"properties": {"location": {"type": "string"}}}', "No.")),
            "[('location', 'string')]",
        ),
        (
            Conversation(exchange('Fill {"setup": string, "punchline": string}', "No.")),
            "[('punchline', 'string'), ('setup', 'string')]",
        ),
        (
            Conversation([user("Hi"), {**assistant("No."), "reasoning_content": "Tell me a joke about cats."}]),
            "Tell me a joke about cats.",
        ),
        (
            Conversation([user("Hi"), call("f", text="apply a magic function to an input.")]),
            "Apply a magic function to an input.",
        ),
    ],
)
def test_a_planted_piece_of_the_standard_tests_is_found(conversation, leak, standard_tests):
    assert standard_test_leaks([conversation], standard_tests) == {leak}


def test_nothing_held_out_is_in_the_training_data(conversations, held_out):
    assert held_out_leaks(conversations, held_out) == set()


def test_every_held_out_list_is_searched_for(held_out):
    assert len(held_out.words) >= 300
    assert len(held_out.names) >= 50
    assert len(held_out.keys) >= 50
    assert len(held_out.templates) >= 400
    assert {"tools", "recall", "extraction", "thinking", "instructions"} <= set(held_out_files())


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("I met Penelope today.", "Penelope"),
        ("My bike is dark red.", "dark red"),
        ("这是绿豆糕。", "绿豆糕"),
        ("Well, can you tell me my favourite colour", "ask: Can you tell me my favourite colour?"),
        ("make a note that my cat's name is Bo.", "Make a note that my {x} is {v}."),
        ("Please work out 3 + 4.", "Please work out {e}."),
        ('Use {"mileage": 3}.', "mileage"),
        ("Gesine has a boat with salami.", "{name} has a {thing} with {word}."),
    ],
)
def test_a_planted_held_out_line_is_found(text, leak, held_out):
    assert leak in held_out_leaks([Conversation(exchange(text, "No."))], held_out)


def test_planted_held_out_tools_are_found(held_out):
    offered = Conversation(
        [user("Hi"), call("rent_bicycle", mileage=3)], tools=(tool("engraveRing", reply_to="string"),)
    )
    assert {"rent_bicycle", "rent", "mileage", "reply_to"} <= held_out_leaks([offered], held_out)
    described = tool("f")
    described["function"]["description"] = "Rent a bicycle. Spelling matters for every argument."
    assert "Spelling matters for every argument." in held_out_leaks([Conversation((), (described,))], held_out)


def test_a_template_is_searched_for_in_one_sentence():
    template = template_of("tell: Hello! {value} is my name.")
    assert template.pattern.search(plain("Well. HELLO!  Bo is\nmy name")) is None
    assert template.pattern.search(plain("Well. HELLO!  Bo Li is my name"))
    assert not template.pattern.search(plain("Hello. I am Bo. What is my name?"))


def test_no_evaluation_sample_is_a_training_sample(conversations):
    planted = sample_of(conversations[0])
    samples = [planted, *(sample for skill in SKILLS for sample in draw_samples(skill, 100, seed=0))]
    # Rendering is slow, and most conversations never come to the words that a sample ends with.
    last_words = {sample.conversation.messages[-1]["content"] for sample in samples}
    seen = {
        render(Conversation(one.messages[:index], one.tools, one.thinking), add_generation_prompt=True)
        for one in conversations
        for index, message in enumerate(one.messages)
        if message["role"] == "assistant" and one.messages[index - 1]["content"] in last_words
    }
    assert {sample.prompt for sample in samples} & seen == {planted.prompt}
