from typing import Any

import pytest

from tests.engine.chat import templates
from vllm_local.chat.chat_template import ChatTemplate, load_chat_template
from vllm_local.errors import ChatTemplateError, InvalidConfigError, InvalidRequestError

PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
TOKENS = {"bos_token": "<s>"}


def user(content):
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("text", "takes_text", "takes_parts"),
    [
        (templates.CHATML, True, False),
        (templates.GEMMA, True, False),
        (templates.PARTS_ONLY, False, True),
        (templates.BOTH, True, True),
        ("{{ messages[0].content }}", True, False),
        ("{{ messages[0].content | tojson }}", True, False),
        ("nothing of it", True, False),
    ],
)
def test_what_a_template_takes(text, takes_text, takes_parts):
    template = ChatTemplate(text, TOKENS)
    assert (template.takes_text, template.takes_parts) == (takes_text, takes_parts)


@pytest.mark.parametrize(
    ("text", "of_parts", "of_text"),
    [(templates.PARTS_ONLY, "user:ab;", "user:a;"), (templates.BOTH, "user:ab;", "user:a;")],
)
def test_contents_in_the_form_that_the_template_takes(text, of_parts, of_text):
    template = ChatTemplate(text, TOKENS)
    assert template.render(user(PARTS)) == of_parts
    assert template.render(user("a")) == of_text


def test_parts_become_lines_where_only_text_is_taken():
    assert "user\na\nb<|im_end|>" in ChatTemplate(templates.CHATML, TOKENS).render(user(PARTS))


def test_special_tokens_and_keywords_reach_the_template():
    template = ChatTemplate("{{ bos_token }}{{ city }}{{ documents[0].text }}{{ add_generation_prompt }}", TOKENS)
    shown = template.render(user("x"), city="Rome", documents=[{"title": "t", "text": "d"}])
    assert shown == "<s>RomedTrue"


@pytest.mark.parametrize("name", ["conversations", "chat_template", "tokenize"])
def test_keywords_that_are_not_the_template_s(name):
    kwargs: dict[str, Any] = {name: 1}
    with pytest.raises(InvalidRequestError, match=name):
        ChatTemplate(templates.CHATML, TOKENS).render(user("x"), **kwargs)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{{ raise_exception('I only speak Latin') }}", "I only speak Latin"),
        ("{% for %}", "Expected an expression"),
        ("{{ messages[7].content }}", "no element 7"),
        ("{{ 1 + messages[0].content }}", "unsupported operand"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_what_goes_wrong_in_a_template(text, match):
    with pytest.raises(ChatTemplateError, match=match):
        ChatTemplate(text, TOKENS).render(user("x"))


def test_continuing_the_last_message():
    template = ChatTemplate(templates.CHATML, TOKENS)
    messages = [*user("Hi"), {"role": "assistant", "content": "Hello, my"}]
    shown = template.render(messages, add_generation_prompt=False, continue_final_message=True)
    assert shown.endswith("assistant\nHello, my")


def test_a_template_given_as_text_or_file(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(templates.CHATML, encoding="utf-8")
    assert load_chat_template(str(path)) == templates.CHATML
    assert load_chat_template(templates.CHATML) == templates.CHATML
    assert load_chat_template(None) is None


def test_a_template_that_is_neither(tmp_path):
    with pytest.raises(InvalidConfigError, match="must be a text, got int"):
        load_chat_template(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigError, match="neither a file nor a Jinja template"):
        load_chat_template(str(tmp_path / "absent.jinja"))


def test_a_template_file_that_is_no_text(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidConfigError, match="cannot be read"):
        load_chat_template(str(path))
