"""Which number format comes of which checkpoint, request and machine."""

import logging

import pytest
import torch

from vllm_local.errors import UnsupportedModelError
from vllm_local.models import dtypes
from vllm_local.models.dtypes import computes_bfloat16, cpu_multiplies_bfloat16, resolve_dtype


@pytest.mark.parametrize(
    ("requested", "checkpoint", "with_bfloat16", "without"),
    [
        ("auto", "float32", "float32", "float32"),
        ("auto", "bfloat16", "bfloat16", "float32"),
        ("auto", "float16", "bfloat16", "float32"),
        ("float32", "bfloat16", "float32", "float32"),
        ("bfloat16", "float32", "bfloat16", "bfloat16"),
        ("float16", "float32", "float32", "float32"),
    ],
)
def test_on_the_cpu(requested: str, checkpoint: str, with_bfloat16: str, without: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dtypes, "computes_bfloat16", lambda: True)
    assert resolve_dtype(requested, checkpoint, "cpu") == with_bfloat16
    monkeypatch.setattr(dtypes, "computes_bfloat16", lambda: False)
    assert resolve_dtype(requested, checkpoint, "cpu") == without


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_elsewhere_it_is_what_was_asked_for(device: str, dtype: str):
    assert resolve_dtype("auto", dtype, device) == dtype
    assert resolve_dtype(dtype, "float32", device) == dtype


def test_a_change_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(dtypes, "computes_bfloat16", lambda: False)
    with caplog.at_level(logging.INFO, logger="vllm_local"):
        resolve_dtype("auto", "bfloat16", "cpu")
        resolve_dtype("auto", "float32", "cpu")
    assert [record.getMessage() for record in caplog.records] == [
        "dtype: the model is in bfloat16, this CPU computes it in float32."
    ]


def test_other_formats_need_a_decision():
    with pytest.raises(UnsupportedModelError, match="float8_e4m3fn"):
        resolve_dtype("auto", "float8_e4m3fn", "cpu")
    assert resolve_dtype("float32", "float64", "cpu") == "float32"


@pytest.mark.parametrize("multiplies", [True, False])
def test_the_native_kernels_need_no_bfloat16_instructions(multiplies: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dtypes, "cpu_multiplies_bfloat16", lambda: multiplies)
    monkeypatch.setattr("vllm_local.kernels.selection.native_library", object)
    assert computes_bfloat16() is True
    monkeypatch.setattr("vllm_local.kernels.selection.native_library", lambda: None)
    assert computes_bfloat16() is multiplies


def test_old_torch_without_the_checks_means_float32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert cpu_multiplies_bfloat16() is False


def test_no_onednn_means_float32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert cpu_multiplies_bfloat16() is False
