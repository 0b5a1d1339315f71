"""`vllm-local bench`: measurements with vLLM's names, options and output."""
