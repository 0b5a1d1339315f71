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
