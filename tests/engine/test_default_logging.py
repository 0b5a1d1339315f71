"""Who hears what the engine says, with and without logging set up."""

import pytest

from tests.engine.engine_fakes import run_python

SAY = """
import logging
from vllm_local.default_logging import show_messages
{before}
show_messages()
show_messages()
{after}
logging.getLogger("vllm_local.worker.loading").info("KV cache: 1 MiB")
logging.getLogger("vllm_local.worker.loading").debug("a detail")
logging.getLogger("elsewhere").info("not ours")
"""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", "vllm_local.worker.loading: KV cache: 1 MiB\n"),
        (
            "logging.basicConfig(level=logging.INFO, format='app %(message)s')",
            "",
            "app KV cache: 1 MiB\napp not ours\n",
        ),
        ("logging.basicConfig()", "", ""),
        ("logging.getLogger('vllm_local').setLevel(logging.WARNING)", "", ""),
        ("logging.getLogger('vllm_local').addHandler(logging.NullHandler())", "", ""),
        ("", "logging.basicConfig(format='app %(message)s')", "app KV cache: 1 MiB\n"),
    ],
)
def test_messages_are_shown_once_unless_the_program_decides(before: str, after: str, expected: str):
    assert run_python(SAY.format(before=before, after=after)).stderr == expected


@pytest.mark.parametrize("stderr", ["sys.stderr = None", "sys.stderr.close()"])
def test_a_program_that_has_nowhere_to_show_them_goes_on(stderr: str):
    code = SAY.format(before=f"import sys\n{stderr}", after="") + "\nprint('went on')"
    assert run_python(code).stdout == "went on\n"
