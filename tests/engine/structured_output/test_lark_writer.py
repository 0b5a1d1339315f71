import json

import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Chain, FreeText, Json, Lark, OneOf, Pattern, Repeated, Text
from vllm_local.structured_output.lark_writer import LarkWriter


def write(constraint):
    grammars = json.loads(LarkWriter({"<call>": 7, "<": 8}, "grammar").write(constraint))["grammars"]
    return grammars[0]["lark_grammar"], grammars[1:]


def start(constraint):
    return write(constraint)[0].splitlines()[1].removeprefix("start: ")


@pytest.mark.parametrize(
    ("constraint", "written"),
    [
        (Text('a\n"ü'), '"a\\n\\"ü"'),
        (Text("x<call>y<z"), '"x" <[7]> "y" <[8]> "z"'),
        (Text(""), '""'),
        (OneOf((Text("a"), Text("b"), Text("a"))), '("a" | "b")'),
        (Repeated(Text("a")), '("a")*'),
        (Repeated(Text("a"), 1), '("a")+'),
        (Repeated(Text("a"), 2, 5), '("a"){2,5}'),
        (Repeated(Text("a"), 0, 0), '""'),
        (Repeated(Text("a"), 2, 5, Text(",")), '("a" ("," "a"){1,4})'),
        (Repeated(Text("a"), separator=Text(",")), '("a" ("," "a")*)?'),
        (Chain((Text("a"), Chain((Text(""), Text("b"))))), '"a" "b"'),
        (Chain((FreeText(("<call>",)), Text("<call>x"))), 'FREE_1 <[7]> "x"'),
        (Chain((FreeText(("[",)), Text("[x"))), 'head_0 "x"'),
        (Chain((FreeText(("[",)), OneOf((Text("[a"), Text("[b"))))), '(head_0 "a" | head_0 "b")'),
    ],
)
def test_each_part_is_written(constraint, written):
    assert start(constraint) == written


def test_rules_are_shared_and_grammars_stand_beside():
    text, others = write(Chain((Pattern("a/b"), Pattern("a/b"), Lark("start: X"), Json(True))))
    assert text.count("PATTERN_0:") == 1
    assert others == [{"name": "grammar_0", "lark_grammar": "%llguidance {}\nstart: X"}]


def test_too_many_repetitions_are_refused():
    with pytest.raises(InvalidRequestError, match="repeated"):
        write(Repeated(Text("a"), 3, 2))
