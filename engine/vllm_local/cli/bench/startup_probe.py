"""The process that `bench startup` measures: loads the model that standard input names, and says how long it took."""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Loads a model and writes seconds as JSON."""
    from vllm_local.config import EngineConfig

    started = time.perf_counter()
    config = EngineConfig(**json.load(sys.stdin))
    # Also what the engine would import while it loads, so that the two parts are told apart.
    import vllm_local.worker.loading  # noqa: F401
    from vllm_local.llm import LLM

    imported = time.perf_counter()
    with LLM(config):
        ready = time.perf_counter()
    sys.stdout.write(json.dumps({"startup": ready - started, "load": ready - imported}) + "\n")


if __name__ == "__main__":
    main()
