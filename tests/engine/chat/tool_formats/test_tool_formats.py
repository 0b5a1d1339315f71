"""Which template has which format, and calls with any arguments in every one of them."""

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.chat.answers import allows, ask, read_pieces, tool
from vllm_local.chat.deltas import collect_deltas
from vllm_local.chat.tool_formats import TOOL_FORMATS, detect_tool_format, named_tool_formats
from vllm_local.chat.tool_formats.base import MAX_CALLS, in_a_row
from vllm_local.errors import InvalidConfigError
from vllm_local.grammar_spec import Json, Repeated, Text
from vllm_local.starter import starter_path

# What the models' own templates say, as far as it tells them apart.
TEMPLATES = {
    "hermes": (
        "{%- if tools %}… return a json object … within <tool_call></tool_call> XML tags:\\n<tool_call>\\n"
        '{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call>{%- endif %}'
    ),
    "qwen3_coder": (
        "{%- if tools %}{{- '<tool_call>\\n<function=example_function_name>\\n<parameter=example_parameter_1>\\n"
        "value_1\\n</parameter>\\n</function>\\n</tool_call>' }}{%- endif %}"
    ),
    "seed_oss": (
        "{%- if tools %}<seed:tool_call>\\n<function=example_function_name>\\n<parameter=example_parameter_1>value_1"
        "</parameter></function>\\n</seed:tool_call>{%- endif %}"
    ),
    "llama3_json": (
        '{%- if tools is not none %}{{- "Environment: ipython\\n" }}{{- \'Respond in the format {"name": function '
        "name, \"parameters\": dictionary of argument name and its value}. ' }}{{- '<|python_tag|>' }}{%- endif %}"
    ),
    "pythonic": (
        "{%- if tools %}{{- 'Respond in the format [func_name1(params_name1=params_value1, "
        "params_name2=params_value2...), func_name2(params)] ' }}{%- endif %}"
    ),
    "mistral": "{%- if tools %}{{ '[AVAILABLE_TOOLS]' }}{% endif %}{{ '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}",
    "mistral_json": (
        '{%- if tools %}{{- "[AVAILABLE_TOOLS] [" }}{%- endif %}{{- "[TOOL_CALLS] [" }}{{- \', "id": "\' + id }}'
    ),
    "deepseek_v3": (
        "{%- if tools %}{% endif %}{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + "
        "tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```'}}"
    ),
    "deepseek_v31": (
        "{% if tools is defined %}{% endif %}{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'+ "
        "tool['function']['name'] + '<｜tool▁sep｜>' + tool['function']['arguments'] + '<｜tool▁call▁end｜>'}}"
    ),
    "deepseek_v32": '{%- if tools %}<｜DSML｜function_calls>\\n<｜DSML｜invoke name=\\"$TOOL_NAME\\">{%- endif %}',
    "granite": (
        "{%- if tools %}{{- '<|start_of_role|>system<|end_of_role|>… respond with <|tool_call|> followed by a JSON "
        "list of tools used.' }}{%- endif %}"
    ),
    "phi4": "{% if 'tools' in message %}<|tool|>{{ message['tools'] }}<|/tool|>{% endif %}",
    "phi4_functools": "{%- if tools %}  * prefix function calls with functools marker{%- endif %}",
    "glm45": (
        "{%- if tools -%}<tool_call>{function-name}\\n<arg_key>{arg-key-1}</arg_key>\\n<arg_value>{arg-value-1}"
        "</arg_value>\\n</tool_call>{%- endif -%}"
    ),
    "glm47": (
        "{%- if tools -%}<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>"
        "</tool_call>{%- endif -%}"
    ),
    "gpt_oss": (
        "{%- if tools %}{% endif %}{{- '<|start|>assistant to=functions.' }}{{- tool_call.name }}"
        "{{- '<|channel|>commentary json<|message|>' }}{{- '<|call|>' }}"
    ),
    "generic": "{% for message in messages %}{{ message.content }}{% endfor %}",
}
# Granite 4 shows roles as Granite 3 does, and tags as Hermes does.
GRANITE_4 = "{%- if tools %}<|start_of_role|>system<|end_of_role|>…<tool_call></tool_call> XML tags{%- endif %}"


def test_every_format_is_in_the_table():
    assert {item.name for item in TOOL_FORMATS} == set(TEMPLATES)


@pytest.mark.parametrize(("name", "template"), TEMPLATES.items(), ids=TEMPLATES)
def test_a_template_s_format_is_found_and_logged(name, template, caplog):
    with caplog.at_level(logging.INFO):
        assert detect_tool_format(template).name == name
    assert f"format {name}, from the chat template" in caplog.text


def test_more_templates():
    assert detect_tool_format(GRANITE_4).name == "hermes"
    starter = json.loads((starter_path() / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    assert detect_tool_format(starter).name == "hermes"
    unknown = "{%- if tools %}<my_own_call>{%- endif %}"
    assert detect_tool_format(unknown).name == "generic"


def test_a_format_can_be_named(caplog):
    with caplog.at_level(logging.INFO):
        assert detect_tool_format(TEMPLATES["hermes"], "llama4_json").name == "llama3_json"
    assert "as 'llama4_json' asks for" in caplog.text
    assert detect_tool_format("", "generic").name == "generic"
    # vLLM has one name for both; the template tells them apart.
    assert detect_tool_format(TEMPLATES["mistral"], "mistral").name == "mistral"
    assert detect_tool_format(TEMPLATES["mistral_json"], "mistral").name == "mistral_json"
    assert detect_tool_format("{{ tools }}", "mistral").name == "mistral"
    assert detect_tool_format(TEMPLATES["generic"], "mistral").name == "generic"
    with pytest.raises(InvalidConfigError, match="tool_call_parser='nope' is not known; use one of deepseek_v3,"):
        named_tool_formats("nope")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["</tool_call>", "null", "True", "7", '"', "\\", "\n", "</parameter", "]", "{", "```", "[TOOL_CALLS"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2)
)
SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "number": {"type": "number"},
        "flag": {"type": "boolean"},
        "items": {"type": "array"},
        "fields": {"type": "object"},
        "choice": {"enum": ["a", "b c", 1, None]},
    },
    "required": ["text"],
}
ARGUMENTS = st.fixed_dictionaries(
    {"text": TEXTS},
    optional={
        "number": st.integers(-99, 99) | st.floats(-1e9, 1e9),
        "flag": st.booleans(),
        "items": st.lists(VALUES, max_size=3),
        "fields": st.dictionaries(TEXTS, VALUES, max_size=3),
        "choice": st.sampled_from(["a", "b c", 1, None]),
    },
)
# Models write properties in the schema's order, as constraints do.
ORDERED = ARGUMENTS.map(lambda values: {key: values[key] for key in SCHEMA["properties"] if key in values})
CALLS = st.lists(st.one_of(ORDERED.map(lambda values: ("f", values)), st.just(("g", {}))), min_size=1, max_size=3)
REQUEST = ask("required", [tool("f", SCHEMA), tool("g")])


def as_json(value):
    return json.dumps(value, ensure_ascii=False)


def as_bare(value):
    return value if isinstance(value, str) else as_json(value)


def objects(calls, key="arguments"):
    return [f'{{"name": "{name}", "{key}": {as_json(arguments)}}}' for name, arguments in calls]


def qwen(calls, tag="tool_call"):
    blocks = []
    for name, arguments in calls:
        inside = "".join(f"<parameter={key}>\n{as_bare(value)}\n</parameter>\n" for key, value in arguments.items())
        blocks.append(f"<{tag}>\n<function={name}>\n{inside}</function>\n</{tag}>")
    return "\n".join(blocks)


def glm(calls, between):
    blocks = []
    for name, arguments in calls:
        pairs = [
            f"<arg_key>{key}</arg_key>{between}<arg_value>{as_bare(value)}</arg_value>{between}"
            for key, value in arguments.items()
        ]
        blocks.append(f"<tool_call>{name}{between}{''.join(pairs)}</tool_call>")
    return between.join(blocks)


def dsml(calls):
    blocks = []
    for name, arguments in calls:
        inside = "".join(
            f'<｜DSML｜parameter name="{key}" string="{str(key == "text").lower()}">'
            f"{value if key == 'text' else as_json(value)}</｜DSML｜parameter>\n"
            for key, value in arguments.items()
        )
        blocks.append(f'<｜DSML｜invoke name="{name}">\n{inside}</｜DSML｜invoke>')
    return "<｜DSML｜function_calls>\n" + "\n".join(blocks) + "\n</｜DSML｜function_calls>"


def deepseek(calls, head, tail, between):
    inside = between.join(
        head.format(name) + as_json(arguments) + tail + "<｜tool▁call▁end｜>" for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{inside}<｜tool▁calls▁end｜>"


def pythonic(calls):
    written = (
        f"{name}({', '.join(f'{key}={as_python(value)}' for key, value in arguments.items())})"
        for name, arguments in calls
    )
    return f"[{', '.join(written)}]"


def as_python(value):
    return {True: "True", False: "False"}[value] if isinstance(value, bool) else as_json(value)


WRITERS = {
    "hermes": lambda calls: "\n".join(f"<tool_call>\n{one}\n</tool_call>" for one in objects(calls)),
    "generic": lambda calls: "\n".join(f"<tool_call>\n{one}\n</tool_call>" for one in objects(calls)),
    "qwen3_coder": qwen,
    "seed_oss": lambda calls: qwen(calls, "seed:tool_call"),
    "llama3_json": lambda calls: "; ".join(objects(calls, "parameters")),
    "pythonic": pythonic,
    "mistral": lambda calls: "".join(f"[TOOL_CALLS]{name}[ARGS]{as_json(arguments)}" for name, arguments in calls),
    "mistral_json": lambda calls: f"[TOOL_CALLS] [{', '.join(objects(calls))}]",
    "deepseek_v3": lambda calls: deepseek(
        calls, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n", "\n```", "\n"
    ),
    "deepseek_v31": lambda calls: deepseek(calls, "<｜tool▁call▁begin｜>{}<｜tool▁sep｜>", "", ""),
    "deepseek_v32": dsml,
    "granite": lambda calls: f"<|tool_call|>[{', '.join(objects(calls))}]",
    "phi4": lambda calls: f"<|tool_call|>[{', '.join(objects(calls))}]<|/tool_call|>",
    "phi4_functools": lambda calls: f"functools[{', '.join(objects(calls))}]",
    "glm45": lambda calls: glm(calls, "\n"),
    "glm47": lambda calls: glm(calls, ""),
    "gpt_oss": lambda calls: (
        f"<|channel|>commentary to=functions.{calls[0][0]} <|constrain|>json<|message|>{as_json(calls[0][1])}"
    ),
}


@pytest.mark.parametrize("tool_format", TOOL_FORMATS, ids=lambda item: item.name)
@settings(derandomize=True, deadline=None, max_examples=15, database=None)
@given(calls=CALLS, size=st.integers(1, 60))
def test_any_call_is_allowed_and_comes_back(tool_format, calls, size):
    calls = calls[:1] if tool_format.name == "gpt_oss" else calls
    text = WRITERS[tool_format.name](calls)
    assert allows(tool_format.constraint(REQUEST), text)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    answer = collect_deltas(read_pieces(pieces, tool_format, request=REQUEST))
    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == calls
    assert answer.content == ""


@pytest.mark.parametrize("tool_format", TOOL_FORMATS, ids=lambda item: item.name)
@settings(derandomize=True, deadline=None, max_examples=15, database=None)
@given(data=st.data())
def test_any_text_is_read_alike_however_it_is_cut(tool_format, data):
    """Bits of markup in any order: what comes of them depends on the text alone, and is an answer."""
    markup = (*tool_format.openers, *tool_format.markers, WRITERS[tool_format.name]([("f", {"text": "x"})]))
    bits = st.sampled_from([*markup, *"<>[]{}()\"'\\,:=; \n", "name", "arguments", "f", "f(", "text=", '{"name": "f"'])
    text = "".join(data.draw(st.lists(bits, max_size=10)))
    text = text[: data.draw(st.integers(0, len(text)))]
    size = data.draw(st.integers(1, max(len(text), 1)))
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    whole = collect_deltas(read_pieces([text], tool_format, request=REQUEST))
    assert collect_deltas(read_pieces(pieces, tool_format, request=REQUEST)) == whole


def test_a_response_format_beside_tools():
    response = Json({"type": "object", "required": ["answer"]})
    for tool_format in TOOL_FORMATS:
        request = ask("auto", [tool("f", SCHEMA)])
        constraint = tool_format.constraint(request, response)
        answer = '{"answer": 1}'
        shown = f"<|channel|>final<|message|>{answer}" if tool_format.name == "gpt_oss" else answer
        assert allows(constraint, shown), tool_format.name
        assert allows(constraint, WRITERS[tool_format.name]([("f", {"text": "x"})])), tool_format.name
        assert not allows(constraint, "Words."), tool_format.name


def test_calls_in_a_row_come_to_an_end():
    assert in_a_row(Text("x"), one_only=True) == Text("x")
    assert in_a_row(Text("x"), one_only=False, separator=";") == Repeated(Text("x"), 1, MAX_CALLS, Text(";"))
