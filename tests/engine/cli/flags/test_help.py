import pytest

from tests.engine.cli.running import invoke
from vllm_local.cli.flags.help import help_topic


@pytest.mark.parametrize(
    ("arguments", "topic"),
    [([], None), (["m", "-h"], ""), (["--help"], ""), (["--help=Max_Model"], "max-model"), (["--port", "1"], None)],
)
def test_help_has_topics(arguments, topic):
    assert help_topic(arguments) == topic


def shown(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0
    return result.stdout


def test_the_short_help_lists_groups():
    text = shown("serve", "--help")
    assert "Usage: vllm-local serve [MODEL]" in text
    assert "SchedulerConfig" in text
    assert "--enforce-eager" not in text


def test_a_group_has_its_options_and_their_defaults():
    text = shown("serve", "--help=cacheconfig")
    assert "--block-size" in text
    assert "Default: 16." in text
    assert "--port" not in text


def test_a_part_of_a_name_finds_options():
    text = shown("serve", "--help=max_num")
    assert "--max-num-seqs" in text
    assert "--max-num-queued-reqs" in text
    assert "--port" not in text


def test_everything():
    text = shown("serve", "--help=all")
    assert "--enforce-eager" in text
    assert "VLLM_API_KEY" in text


def test_nothing_found_says_so():
    assert "No group or option matches 'zzz'" in shown("serve", "--help=zzz")


@pytest.mark.parametrize(
    "command",
    [
        "chat",
        "complete",
        "run-batch",
        "collect-env",
        "bench serve",
        "bench latency",
        "bench throughput",
        "bench startup",
    ],
)
def test_every_command_has_help(command):
    assert f"Usage: vllm-local {command}" in shown(*command.split(), "--help")
