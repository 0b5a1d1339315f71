import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.blame import blaming

GOOD = {"type": "object", "properties": {"a": {"type": "integer"}}}
BAD = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}


def fail(parameter):
    raise InvalidRequestError(f"{parameter} is wrong.", parameter=parameter)


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ("structured_outputs.json", "response_format"),
        ("structured_outputs.constraint", "response_format"),
        ("response_format.json_schema", "response_format.json_schema"),
        ("temperature", "temperature"),
        (None, None),
    ],
)
def test_errors_name_the_requests_field(parameter, told):
    with pytest.raises(InvalidRequestError) as caught, blaming("response_format"):
        fail(parameter)
    assert (caught.value.parameter, str(caught.value)) == (told, f"{told} is wrong.")


def test_a_tool_whose_schema_cannot_be_kept_is_named():
    with pytest.raises(InvalidRequestError, match=r"'bad' cannot be offered: .*\$\.properties\.a\.not") as caught:  # noqa: SIM117
        with blaming("response_format", [("good", GOOD), ("bad", BAD)]):
            fail("structured_outputs.constraint")
    assert caught.value.parameter == "tools"


def test_nothing_is_said_where_all_is_well():
    with blaming("response_format", [("bad", BAD)]):
        pass
