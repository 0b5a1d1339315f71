import json

import pytest

from vllm_local.cli.flags.spelling import normalize
from vllm_local.errors import InvalidConfigError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max_model_len", "4_k"], ["--max-model-len", "4_k"]),
        (["--max_model_len=a_b"], ["--max-model-len=a_b"]),
        (["my_model", "-tp", "2"], ["my_model", "-tp", "2"]),
        (["-O3"], ["--optimization-level", "3"]),
        (["-O=2"], ["--optimization-level", "2"]),
        (["-O", "1"], ["--optimization-level", "1"]),
        (["--seed", "-1", "--top-p", "0.5"], ["--seed", "-1", "--top-p", "0.5"]),
        (["--model", "org/name-1.5"], ["--model", "org/name-1.5"]),
        (["--model=org/name-1.5"], ["--model=org/name-1.5"]),
    ],
)
def test_names_have_one_spelling(arguments, expected):
    assert normalize(arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--a_b.c_d", "1"], {"c_d": 1}),
        (["--a-b.c=x"], {"c": "x"}),
        (["--a-b.c.d", "true", "--a-b.c.e", "2k"], {"c": {"d": True, "e": 2000}}),
        (["--a-b.c+", "x", "--a-b.c+=y,z"], {"c": ["x", "y", "z"]}),
        (["--a-b.c", "1", "--a-b.c", "2"], {"c": 2}),
    ],
)
def test_dotted_names_become_json(arguments, value):
    plain = normalize(["first", *arguments, "--last"])
    assert plain[:2] == ["first", "--last"]
    assert plain[2] == "--a-b"
    assert json.loads(plain[3]) == value


def test_short_names_may_be_dotted():
    assert normalize(["-cc.mode=3"]) == ["-cc", '{"mode": 3}']


def test_a_dotted_name_needs_a_value():
    with pytest.raises(InvalidConfigError, match=r"--a\.b needs a value"):
        normalize(["--a.b"])
