import pytest

from vllm_local.cli.flags.flag import Flag, Shape
from vllm_local.cli.flags.parser import parse
from vllm_local.cli.flags.values import integer
from vllm_local.errors import InvalidConfigError

FLAGS = (
    Flag(name="config"),
    Flag(name="model"),
    Flag(name="max-len", short="-m", type=integer),
    Flag(name="enable-cache", shape=Shape.SWITCH),
    Flag(name="name", shape=Shape.LIST),
    Flag(name="policy", choices=("fcfs", "priority")),
)


def read(*arguments):
    return parse("serve", FLAGS, arguments, "model")


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], {}),
        (["m"], {"model": "m"}),
        (["--max-len", "2k", "m"], {"model": "m", "max_len": 2000}),
        (["-m", "7"], {"max_len": 7}),
        (["--max_len=7"], {"max_len": 7}),
        (["--max", "7"], {"max_len": 7}),
        (["--max-len", "1", "--max-len", "2"], {"max_len": 2}),
        (["--enable-cache"], {"enable_cache": True}),
        (["--no-enable-cache"], {"enable_cache": False}),
        (["--no_enable_cache"], {"enable_cache": False}),
        (["--name", "a", "b", "--name", "c"], {"name": ["a", "b", "c"]}),
        (["m", "--model", "m"], {"model": "m"}),
    ],
)
def test_only_what_was_given(arguments, given):
    assert read(*arguments) == given


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-lem", "1"], "no option --max-lem. Did you mean --max-len?"),
        (["--zzz=1"], "no option --zzz. `"),
        (["m", "n"], "what to do with 'n'"),
        (["m", "--model", "n"], "two values for model"),
        (["--max-len", "x"], "'x' is not an integer"),
        (["--max-len"], "expected one argument"),
        (["--policy", "lifo"], "invalid choice"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(InvalidConfigError) as caught:
        read(*arguments)
    assert message in str(caught.value)


def test_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model: from-file\nmax-len: 1\nname: [a]\nenable-cache: false\n", encoding="utf-8")
    given = read("--name", "b", "--config", str(path), "--max-len", "2")
    assert given == {"model": "from-file", "max_len": 2, "name": ["b"], "enable_cache": False}
    assert read("m", f"--config={path}")["model"] == "m"
