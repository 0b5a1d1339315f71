import json
import re

import pytest

from vllm_local.structured_output.schema_patterns import as_rust
from vllm_local.structured_outputs_params import StructuredOutputsParams


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("^[a-z]+-[^0-9]$", "^[a-z]+-[^0-9]$"),
        ("^[[a-z]*[-]?]*$", r"^[\[a-z]*[\-]?]*$"),
        ("[a&&b~~c]", r"[a\&\&b\~\~c]"),
        ("[+--]", r"[+-\-]"),
        ("[--a]", r"[\--a]"),
        ("[]a]", r"[\]a]"),
        ("[^]a]", r"[^\]a]"),
        (r"\[[\]\[]\W[^\W]", r"\[[\]\[][^\p{L}\p{M}\p{N}_][^\W]"),
        (r"\\W", r"\\W"),
        ("[a", "[a"),
        ("\\", "\\"),
    ],
)
def test_classes_mean_what_they_mean_in_schemas(pattern, written):
    assert as_rust(pattern) == written


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"^[[a&&b]+$", ["[", "a", "&", "b", "]", "ab"]),
        (r"^[+--]$", ["+", ",", "-", "."]),
        (r"^[\W\d]$", ["-", "1", "é", "ß", "a", "_", " "]),
        (r"^\D$", ["a", "1", "٣"]),
        (r"^[a-z]+\.[a-z]{2,3}(/[^/]*)*$", ["a.de", "a.d", "a.com/", "a.com/x/-"]),
    ],
)
def test_the_grammar_takes_what_python_matches(compiler, bridge, pattern, texts):
    for text in texts:
        grammar = compiler.compile(StructuredOutputsParams(json={"type": "string", "pattern": pattern}), 100)
        taken = (
            grammar.accept(bridge.tokenize(json.dumps(text, ensure_ascii=False).encode())) and grammar.is_fulfilled()
        )
        assert taken == bool(re.search(pattern, text)), text
