import pytest
import torch

from vllm_local.starter import precision
from vllm_local.starter.precision import fastest_dtype


@pytest.mark.parametrize("faster", [torch.bfloat16, torch.float32])
def test_a_processor_trains_in_what_it_multiplies_faster(monkeypatch: pytest.MonkeyPatch, faster: torch.dtype):
    monkeypatch.setattr(
        precision, "_seconds_of_products", lambda dtypes: {dtype: 1.9 - (dtype == faster) for dtype in dtypes}
    )
    assert fastest_dtype("cpu") == faster


def test_the_products_are_timed():
    assert fastest_dtype("cpu") in {torch.bfloat16, torch.float32}


def test_a_gpu_trains_in_bfloat16():
    assert fastest_dtype("cuda") == torch.bfloat16
