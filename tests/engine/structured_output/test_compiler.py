import json
import re
import threading
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.engine.structured_output.random_answers import draw
from tests.engine.structured_output.random_schemas import SCHEMAS, shortest
from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Chain, FreeText, Json, OneOf, Pattern, Repeated, Text
from vllm_local.structured_output import GrammarCompiler, GrammarLimits
from vllm_local.structured_output.compiler import as_constraint
from vllm_local.structured_output.schema_keywords import ASSERTIONS, SUBSCHEMA_LISTS, SUBSCHEMA_MAPS, SUBSCHEMAS
from vllm_local.structured_outputs_params import MAX_LARK_BYTES, StructuredOutputsParams

QUICK = settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 18, "maximum": 120},
        "friends": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
        "mood": {"enum": ["gut", "schön", "悪い"]},
    },
    "required": ["name", "age", "mood"],
}


def answer(compiler, tokenizer, max_tokens, seed=0, **form):
    grammar = compiler.compile(StructuredOutputsParams(**form), max_tokens)
    tokens = draw(grammar, tokenizer.vocab_size, max_tokens, seed, takes_forced=seed % 2 == 0)
    return grammar, tokenizer.decode(tokens, skip_special_tokens=False)


@pytest.mark.parametrize("max_tokens", [30, 50, 70, 300])
@pytest.mark.parametrize("seed", range(4))
def test_an_answer_obeys_its_schema_at_any_budget(compiler, tokenizer, max_tokens, seed):
    grammar, text = answer(compiler, tokenizer, max_tokens, seed, json=PERSON)
    assert grammar.is_fulfilled()
    jsonschema.validate(json.loads(text), PERSON)
    assert set(json.loads(text)) <= {"name", "age", "friends", "mood"}


@pytest.mark.parametrize("seed", range(10))
def test_a_string_that_was_begun_without_its_pattern_still_ends(compiler, tokenizer, seed):
    schema = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "[a-f]+@"}]}
    grammar, text = answer(compiler, tokenizer, 40, seed, json=schema)
    assert grammar.is_fulfilled()
    jsonschema.validate(json.loads(text), schema)


@QUICK
@given(schema=SCHEMAS, max_tokens=st.sampled_from([6, 20, 60, 200]), seed=st.integers(0, 9))
def test_random_schemas_hold(compiler, tokenizer, schema, max_tokens, seed):
    grammar, text = answer(compiler, tokenizer, max_tokens, seed, json=schema)
    known = shortest(schema)
    if known is not None and len(tokenizer.encode(known, add_special_tokens=False)) <= max_tokens:
        assert grammar.is_fulfilled(), f"{text!r} is cut, though {known!r} fits"
    if grammar.is_fulfilled():
        jsonschema.validate(json.loads(text), schema)


@QUICK
@given(schema=SCHEMAS, more=st.integers(0, 12), seed=st.integers(0, 9))
def test_random_schemas_hold_with_no_token_to_spare(compiler, tokenizer, schema, more, seed):
    known = shortest(schema)
    assume(known is not None)
    max_tokens = len(tokenizer.encode(known, add_special_tokens=False)) + more
    grammar, text = answer(compiler, tokenizer, max_tokens, seed, json=schema)
    assert grammar.is_fulfilled(), f"{text!r} is cut, though {known!r} fits"
    jsonschema.validate(json.loads(text), schema)


def required(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


LONG_OBJECTS = [required(**{f"a_long_name_{i}_{j}": {"minLength": 5} for j in range(6)}) for i in range(9)]
TIGHT = {
    "long string": ({"type": "string", "minLength": 300}, '"' + "a" * 300 + '"'),
    "many items": ({"type": "array", "minItems": 30, "items": {"type": "integer"}}, json.dumps([0] * 30)),
    "nested arrays": (
        {"type": "array", "minItems": 4, "items": {"type": "array", "minItems": 4, "items": {"type": "boolean"}}},
        json.dumps([[True] * 4] * 4),
    ),
    "words in bad pieces": ({"enum": ["zqxjkvbpw" * 8, "a sentence of common words"]}, '"a sentence of common words"'),
    "pattern": ({"type": "string", "pattern": "^[A-F0-9]{40}$"}, '"' + "0" * 40 + '"'),
    "pattern with branches": (
        {"type": "string", "pattern": "^(foo|barbarbarbar)-(quux|x)+-[a-z]{20,30}@host$"},
        '"foo-x-' + "a" * 20 + '@host"',
    ),
    "numbers": (
        {"type": "array", "prefixItems": [{"minimum": 99.5, "maximum": 99.6}, {"minimum": 10**6}], "minItems": 2},
        "[99.5, 1000000]",
    ),
    "recursion": (
        {"$defs": {"n": required(kids={"type": "array", "items": {"$ref": "#/$defs/n"}})}, "$ref": "#/$defs/n"},
        '{"kids": []}',
    ),
    "a short option last": ({"anyOf": [*LONG_OBJECTS, required(z={"type": "null"})]}, '{"z": null}'),
    "a long way once chosen": (
        required(a={"anyOf": [{"type": "null"}, {"type": "array", "minItems": 40, "items": {"type": "integer"}}]}),
        '{"a": null}',
    ),
    "optional members": ({"additionalProperties": {"type": "array", "minItems": 20}, "type": "object"}, "{}"),
    "formats": (
        required(id={"type": "string", "format": "uuid"}, at={"type": "string", "format": "date-time"}),
        '{"id": "00000000-0000-4000-8000-000000000000", "at": "2000-01-01T00:00:00Z"}',
    ),
    "other scripts": (required(**{f"k{i}": {"const": f"Nº {i}: 日本語"} for i in range(4)}), None),
}


@pytest.mark.parametrize("name", TIGHT)
@pytest.mark.parametrize("more", [0, 1, 7])
def test_an_answer_is_whole_where_the_shortest_fits(compiler, tokenizer, name, more):
    schema, known = TIGHT[name]
    known = known or json.dumps(
        {key: value["const"] for key, value in schema["properties"].items()}, ensure_ascii=False
    )
    max_tokens = len(tokenizer.encode(known, add_special_tokens=False)) + more
    for seed in range(2):
        grammar, text = answer(compiler, tokenizer, max_tokens, seed, json=schema)
        assert grammar.is_fulfilled(), text
        jsonschema.validate(json.loads(text), schema)


TIGHT_CALL = '<fn=get_weather>{"city": "aaaaaaaaa"}</fn>'


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("more", [0, 3])
def test_other_constraints_are_whole_where_the_shortest_fits(compiler, tokenizer, more, seed):
    call = Chain((Text("<fn=get_weather>"), Json(required(city={"type": "string", "minLength": 9})), Text("</fn>")))
    body = r'<fn=get_weather>\{"city": ".{9,}"\}</fn>'
    pattern = "[a-f]{12}-(x|yyyyyyyyyyyy)"
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"constraint": Repeated(call, 2, None, Text("\n"))}, "\n".join([TIGHT_CALL] * 2), rf"{body}(\n{body})+"),
        ({"constraint": OneOf((call, Text("no")))}, "no", rf"{body}|no"),
        ({"regex": pattern}, "aaaaaaaaaaaa-x", pattern),
        ({"choice": ["a long, long way to go on", "no"]}, "no", "a long.*|no"),
        ({"json": {"enum": [1, "x"]}, "starts_after": "</think>"}, "</think>1", r'(?s:.*)</think>\n{0,2}(1|"x")'),
    ]
    for form, known, matches in cases:
        max_tokens = len(tokenizer.encode(known, add_special_tokens=False)) + more
        grammar, text = answer(compiler, tokenizer, max_tokens, seed, **form)
        assert grammar.is_fulfilled(), text
        assert re.fullmatch(matches, text), text


@pytest.mark.parametrize("kind", ["byte_level_bpe", "llama2_bpe", "metaspace_unigram"])
def test_every_kind_of_tokenizer_can_be_constrained(sample_compilers, sample_tokenizers, kind):
    grammar, text = answer(sample_compilers[kind], sample_tokenizers[kind], 60, choice=["love", "world"])
    assert grammar.is_fulfilled()
    assert text.replace(" ", "") in {"love", "world"}


@pytest.mark.parametrize("kind", ["byte_level_bpe", "llama2_bpe"])
@pytest.mark.parametrize("seed", range(3))
def test_characters_that_span_tokens_stay_whole(sample_compilers, sample_tokenizers, kind, seed):
    schema = {"type": "object", "properties": {"wörter": {"enum": ["東京", "🤖🦾", "naïve"]}}, "required": ["wörter"]}
    _, text = answer(sample_compilers[kind], sample_tokenizers[kind], 80, seed, json=schema)
    jsonschema.validate(json.loads(text), schema)
    _, free = answer(sample_compilers[kind], sample_tokenizers[kind], 40, seed, json={"type": "string", "minLength": 5})
    assert "\ufffd" not in json.loads(free)


@pytest.mark.parametrize(
    ("form", "matches"),
    [
        ({"regex": r"[A-Z]{3}-\d{4}(é|ü)+"}, r"[A-Z]{3}-[0-9]{4}(é|ü)+"),
        ({"regex": r"^(yes|no)$"}, "yes|no"),
        ({"regex": r"a/b\\c"}, r"a/b\\c"),
        ({"choice": ["ja", 'n"\\ein', "東京\n", "/x/", "<y>"]}, r'ja|n"\\ein|東京\n|/x/|<y>'),
        ({"grammar": 'root ::= "a" tail\ntail ::= [0-9]+ | \'x"y\''}, r'a([0-9]+|x"y)'),
        ({"grammar": 'start: A B\nA: /[ab]/\nB: "-" /[0-9]+/'}, r"[ab]-[0-9]+"),
        ({"json_object": True}, r"\{(?s:.*)\}"),
        ({"json": {"type": "object", "properties": {}}}, r"\{\}"),
        ({"json": PERSON, "disable_any_whitespace": True}, r'\{"name":".*'),
        ({"json": {"const": [1, 2]}, "whitespace_pattern": " {2}"}, r"\[( {2})?1( {2})?,( {2})?2( {2})?\]"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_each_kind_of_constraint_is_followed(compiler, tokenizer, form, matches, seed):
    grammar, text = answer(compiler, tokenizer, 60, seed, **form)
    assert grammar.is_fulfilled()
    assert re.fullmatch(matches, text, re.DOTALL), text


CALL = Chain(
    (Text("<tool_call>"), Json({"type": "object", "properties": {"n": {"type": "null"}}}), Text("</tool_call>"))
)


@pytest.mark.parametrize("seed", range(3))
def test_tags_of_special_tokens_are_these_tokens(compiler, tokenizer, seed):
    _, text = answer(compiler, tokenizer, 60, seed, constraint=Repeated(CALL, 2, 3, Text("\n")))
    body = r"<tool_call>\{(\"n\": null)?\}</tool_call>"
    assert re.fullmatch(rf"{body}\n{body}(\n{body})?", text), text
    assert tokenizer.encode("<tool_call>", False)[0] in tokenizer.encode(text, False)


def test_free_text_ends_at_the_tag_and_the_call_obeys(compiler, tokenizer):
    free = FreeText(("<fn=",))
    calls = OneOf(tuple(Chain((Text(f"<fn={name}>"), Pattern("[0-9]"), Text("</fn>"))) for name in ("one", "two")))
    tree = Chain((Repeated(Chain((free, calls))), free))
    for seed in range(6):
        _, text = answer(compiler, tokenizer, 40, seed, constraint=tree)
        assert text.count("<fn=") == len(re.findall(r"<fn=(?:one|two)>[0-9]</fn>", text)), text
    grammar = compiler.compile(StructuredOutputsParams(constraint=tree), 100)
    good = tokenizer.encode("So < it is <fn=two>7</fn> and <fn=one>8</fn>.", False)
    assert grammar.validate(good) == len(good)
    assert tokenizer.decode(good[: grammar.validate(tokenizer.encode("a <fn=six>", False))]) in "So < it is <fn="


def test_the_form_begins_behind_the_reasoning(compiler, tokenizer):
    for seed in range(3):
        grammar, text = answer(compiler, tokenizer, 60, seed, json=PERSON, starts_after="</think>")
        assert grammar.is_fulfilled()
        jsonschema.validate(json.loads(text.partition("</think>")[2]), PERSON)


@pytest.mark.parametrize("seed", range(2))
def test_a_special_tokens_text_inside_of_json_is_text(compiler, tokenizer, seed):
    _, text = answer(compiler, tokenizer, 60, seed, json={"const": "a<tool_call>b</think>"})
    assert text == '"a<tool_call>b</think>"'
    _, text = answer(compiler, tokenizer, 60, seed, grammar='start: "a<tool_call>" B\nB: "c</think>"')
    assert text == "a<tool_call>c</think>"
    _, text = answer(compiler, tokenizer, 60, seed, regex="a<tool_call>b")
    assert text == "a<tool_call>b"


def test_what_is_forced_comes_as_one_run_in_the_models_own_tokens(compiler, tokenizer):
    schema = {"type": "object", "properties": {"a_long_name": {"type": "integer"}}, "required": ["a_long_name"]}
    grammar = compiler.compile(StructuredOutputsParams(json=schema), 100)
    forced = grammar.forced_tokens()
    assert tokenizer.decode(forced).startswith('{"a_long_name":')
    whole = tokenizer.encode('{"a_long_name": 7}', False)
    assert whole[: len(forced)] == forced


def test_compiled_grammars_are_shared_and_the_oldest_forgotten(tokenizer):
    small = GrammarCompiler(tokenizer, tokenizer.vocab_size, GrammarLimits(cached_grammars=2))
    first = small.compile(StructuredOutputsParams(regex="[ab]"), 5)
    again = small.compile(StructuredOutputsParams(regex="[ab]"), 5)
    assert first.accept(tokenizer.encode("a", False))
    assert again.accept(tokenizer.encode("b", False)), "requests share the compiled grammar, not its state"
    for regex in ("c", "d", "e"):
        small.compile(StructuredOutputsParams(regex=regex), 5)
    assert len(small._compiled) == 2


def test_what_is_being_compiled_is_not_compiled_again(tokenizer):
    fresh = GrammarCompiler(tokenizer, tokenizer.vocab_size)
    good, bad = StructuredOutputsParams(regex="[ab]"), StructuredOutputsParams(regex="((")
    assert fresh.begin(good) is fresh.begin(StructuredOutputsParams(regex="[ab]"))
    refused = fresh.begin(bad)
    assert isinstance(refused.exception(60), InvalidRequestError)
    assert fresh.begin(bad) is not refused, "an error is found again, in the words of its own request"


def chain_of_references(length):
    links = {f"d{i}": required(a={"$ref": f"#/$defs/d{i + 1}"}) for i in range(length)}
    return {"$defs": {**links, f"d{length}": {"type": "null"}}, "$ref": "#/$defs/d0"}


def chain_of_rules(length, name, rule):
    return "\n".join(rule.format(this=f"{name}{i}", next=f"{name}{i + 1}") for i in range(length))


@pytest.mark.parametrize(
    "form",
    [
        {"json": chain_of_references(2500)},
        {"json": {"$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(2500)}, "anyOf": [True]}},
        {"grammar": "start: r0\n" + chain_of_rules(12_000, "r", '{this}: "x" {next}') + '\nr12000: "y"'},
        {"grammar": "start: A0\n" + chain_of_rules(12_000, "A", '{this}: "x" {next}') + '\nA12000: "y"'},
        {"grammar": f"start: %json {json.dumps(chain_of_references(2500))}"},
        {"grammar": "root ::= r0\n" + chain_of_rules(5000, "r", '{this} ::= "x" {next}') + '\nr5000 ::= "y"'},
    ],
    ids=["references", "references in place", "rules", "terminals", "references in Lark", "EBNF"],
)
def test_levels_without_end_end_no_process(compiler, form):
    with suppress(InvalidRequestError):
        compiler.compile(StructuredOutputsParams(**form), 50)


def test_a_grammar_inside_of_tags_is_no_larger_than_another(compiler):
    grammar = {"type": "grammar", "grammar": 'start: "a"' + "\n" * MAX_LARK_BYTES}
    with pytest.raises(InvalidRequestError, match=f"at most {MAX_LARK_BYTES} bytes"):
        compiler.compile(StructuredOutputsParams(structural_tag={"format": grammar}), 50)


def test_many_threads_may_compile(tokenizer):
    fresh = GrammarCompiler(tokenizer, tokenizer.vocab_size)
    texts = {}

    def work(i):
        texts[i] = answer(fresh, tokenizer, 40, i, json={"const": i % 3})[1]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {i: str(i % 3) for i in range(12)}


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"regex": "a("}, "unclosed group"),
        ({"regex": "(?=a)b"}, "look-around"),
        ({"regex": r"(a)\1"}, "backreferences"),
        ({"regex": "[^\\s\\S]"}, None),
        ({"grammar": "start: nothing"}, "unknown name"),
        ({"grammar": "start: a\na: b\nb: a"}, None),
        ({"grammar": 'root ::= "a'}, "EBNF"),
        ({"grammar": "root ::= " + "(" * 5000}, "open brackets"),
        ({"grammar": "start: " + "(" * 5000 + '"a"' + ")" * 5000}, "nested"),
        ({"grammar": '{"grammars": []}'}, None),
        ({"json": {"properties": {"x": {"not": {"type": "null"}}}}}, r"\$\.properties\.x\.not"),
        ({"json": {"type": "string", "pattern": "("}}, "unclosed group"),
        ({"json": {"type": "integer", "minimum": 2, "maximum": 1}}, None),
        ({"json": {"$ref": "#/$defs/none"}}, r"\$\.\$ref"),
        ({"json": {"type": "string", "minLength": 10**9}}, r"\$\.minLength"),
        ({"json": {}, "whitespace_pattern": "("}, None),
        ({"structural_tag": {"format": {"type": "no"}}}, r"\$\.format"),
    ],
)
def test_what_cannot_be_compiled_is_the_callers_fault(compiler, form, says):
    with pytest.raises(InvalidRequestError, match=says) as error:
        compiler.compile(StructuredOutputsParams(**form), 50)
    assert str(error.value.parameter).startswith("structured_outputs.")
    assert len(str(error.value)) < 1200


FUZZ_TEXT = st.text(max_size=60) | st.text(alphabet='(){}[]|*+?\\^$.-,:="/<>@%&~ \nabstart\u00fc', max_size=60)
FUZZ_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                sorted({*ASSERTIONS, *SUBSCHEMAS, *SUBSCHEMA_LISTS, *SUBSCHEMA_MAPS, "$ref", "$defs", "$id", "$anchor"})
            ),
            inner | st.sampled_from(["object", "string", "array", "#", "#/$defs/x", "#/properties/x"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(QUICK, max_examples=120)
@given(kind=st.sampled_from(["regex", "grammar", "whitespace_pattern", "starts_after"]), text=FUZZ_TEXT)
def test_any_text_is_compiled_or_refused(compiler, tokenizer, kind, text):
    form = {kind: text} if kind in {"regex", "grammar"} else {"json": {"type": "array"}, kind: text}
    with suppress(InvalidRequestError):
        answer(compiler, tokenizer, 6, **form)


@settings(QUICK, max_examples=120)
@given(kind=st.sampled_from(["json", "structural_tag"]), value=FUZZ_JSON)
def test_any_json_is_compiled_or_refused(compiler, tokenizer, kind, value):
    with suppress(InvalidRequestError):
        answer(compiler, tokenizer, 6, **{kind: value})


def test_an_object_of_any_kind_is_what_json_object_means():
    assert as_constraint(StructuredOutputsParams(json_object=True)) == Json({"type": "object"})
