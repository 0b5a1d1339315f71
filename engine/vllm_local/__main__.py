"""`python -m vllm_local` is `vllm-local`."""

from vllm_local.cli import main

if __name__ == "__main__":
    main()
