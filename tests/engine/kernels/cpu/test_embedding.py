import pytest
import torch

from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import NativeLibrary


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 20, 64])
def test_rows_are_the_tables(library: NativeLibrary, size: int, dtype: torch.dtype) -> None:
    kernels, table = NativeKernels(dtype, library), torch.randn(9, size)
    token_ids = torch.tensor([3, 0, 8, 3])
    embedding = kernels.pack_embedding(table)
    table_before = table.clone()
    table.zero_()
    rows = kernels.embed(token_ids, embedding)
    assert torch.equal(rows, table_before.to(dtype).float()[token_ids])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (9, 21), (150, 64)])
def test_a_tied_table_is_found_in_the_heads_panels(
    library: NativeLibrary, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    kernels, table = NativeKernels(dtype, library), torch.randn(shape)
    embedding, head = kernels.pack_tied_embedding(table)
    every_token = torch.arange(shape[0])
    assert torch.equal(kernels.embed(every_token, embedding), table.to(dtype).float())
    rows = torch.randn(3, shape[1]).to(dtype)
    assert torch.equal(kernels.logits(rows, head), kernels.logits(rows, kernels.pack_linear([table])))
