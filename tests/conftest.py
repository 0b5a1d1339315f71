"""What holds for every test: offline, quiet, and nothing of this machine's settings."""

import os
import signal
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Set while pytest collects, so before any library reads them.
_CACHE = tempfile.TemporaryDirectory(prefix="vllm-local-tests-")
os.environ |= {
    "HF_HOME": _CACHE.name,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    "MPLBACKEND": "agg",
    "TOKENIZERS_PARALLELISM": "false",
}
for _name in [name for name in os.environ if name.startswith(("OPENAI_", "VLLM_"))]:
    del os.environ[_name]

# A shell ignores Ctrl-C for what it runs in the background, nohup a hang-up, and so would the tests that send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests that need a GPU where there is none."""
    needy = [item for item in items if item.get_closest_marker("cuda")]
    if needy and not _has_cuda():
        for item in needy:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return Path(__file__).resolve().parent.parent
