"""With the native kernels an answer's bits depend on its own tokens alone, on every instruction set.

Log-probabilities stand for the logits here: each is a logit less the sum over all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.engine.models.checkpoints import save_reference
from tests.engine.test_parity import prompts
from tests.engine.tokenizer import samples
from vllm_local import LLM, SamplingParams
from vllm_local.errors import InvalidConfigError
from vllm_local.kernels.cpu.library import INSTRUCTION_SETS
from vllm_local.kernels.selection import native_library

KV_BYTES_PER_TOKEN = {
    "qwen3-bias-tied": 2 * 2 * 2 * 32 * 4,
    "mpt-6-heads-clip": 2 * 2 * 6 * 8 * 4,
    "mixtral": 2 * 2 * 2 * 8 * 4,
}
ROOMY: dict[str, Any] = {
    "max_num_batched_tokens": 1024,
    "max_num_seqs": 8,
    "block_size": 4,
    "use_tqdm_on_load": False,
    "kv_cache_memory_bytes": 2**22,
    "enable_prefix_caching": False,
    "num_threads": 1,
}
Answer = list[tuple[int, dict[int, float]]]
"""An answer's tokens, each with the log-probabilities of the best at its place."""


class Checkpoint(NamedTuple):
    """A model's folder and what a token's K and V take in float32."""

    folder: Path
    kv_bytes: int


# The portable kernels take longest, and are nobody's first choice.
@pytest.fixture(params=[*INSTRUCTION_SETS[:-1], pytest.param(INSTRUCTION_SETS[-1], marks=pytest.mark.slow)])
def _instruction_set(request: pytest.FixtureRequest) -> Iterator[None]:
    library = native_library()
    if library is None:
        pytest.skip("the native library was not built")
    before = library.isa
    try:
        library.use_isa(request.param)
    except InvalidConfigError as error:
        pytest.skip(str(error))
    yield
    library.use_isa(before)


@pytest.fixture(scope="module", params=sorted(KV_BYTES_PER_TOKEN))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(request.param)
    save_reference(request.param, folder)
    samples.save(samples.byte_level_bpe(), folder)
    return Checkpoint(folder, KV_BYTES_PER_TOKEN[request.param])


def answers(llm: LLM, texts: list[list[int]]) -> list[Answer]:
    params = SamplingParams(temperature=0, max_tokens=20, logprobs=5, ignore_eos=True)
    outputs = llm.generate([{"prompt_token_ids": tokens} for tokens in texts], params, use_tqdm=False)
    return [
        [
            (token_id, {candidate: described.logprob for candidate, described in place.items()})
            for token_id, place in zip(output.outputs[0].token_ids, output.outputs[0].logprobs or [], strict=True)
        ]
        for output in outputs
    ]


@pytest.mark.usefixtures("_instruction_set")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_answer_has_the_same_bits_whatever_else_happens(checkpoint: Checkpoint, dtype: str) -> None:
    texts = prompts()
    kv_bytes = checkpoint.kv_bytes // (1 if dtype == "float32" else 2)

    def engine(**arguments: Any) -> LLM:
        return LLM(model=str(checkpoint.folder), dtype=dtype, **{**ROOMY, **arguments})

    with engine() as llm:
        alone = [answers(llm, [text])[0] for text in texts]
        assert answers(llm, texts) == alone, "in a batch"
    with engine(num_threads=2) as llm:
        assert answers(llm, texts) == alone, "on two threads"
    with engine(max_num_batched_tokens=12) as llm:
        assert answers(llm, texts) == alone, "in chunks"
    with engine(enable_prefix_caching=True) as llm:
        assert answers(llm, texts) == alone, "beside others with the same beginning"
        assert answers(llm, texts[::-1]) == alone[::-1], "after prefix hits"
        assert llm.engine.stats().prefix_cache_hits > 0
    with engine(kv_cache_memory_bytes=160 * kv_bytes, max_model_len=120, num_threads=2) as llm:
        assert answers(llm, texts) == alone, "after preemption"
        assert llm.engine.stats().num_preemptions > 0
