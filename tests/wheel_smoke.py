"""What a wheel must do wherever it is installed: import without torch, find its kernels, and answer.

`python tests/wheel_smoke.py` says what computes. With VLLM_LOCAL_KERNELS=native a wheel without its library fails.
"""

import sys

import langchain_vllm_local
import vllm_local


def main() -> None:
    assert "torch" not in sys.modules, "an import loads torch"
    for package in (langchain_vllm_local, vllm_local):
        assert "site-packages" in str(package.__file__), f"{package.__file__} is not the wheel's"
    answer = langchain_vllm_local.ChatVLLMLocal(max_tokens=4, temperature=0).invoke("Hello!").text
    assert answer, "no answer"

    import torch

    from vllm_local.kernels.selection import make_kernels

    sys.stdout.write(f"{make_kernels('cpu', torch.bfloat16).description}\n")


if __name__ == "__main__":
    main()
