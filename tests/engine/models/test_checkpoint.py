"""Weight files: the formats, and every way in which they can be damaged."""

import json
import pickle
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save_file

from vllm_local.errors import CorruptModelError, UnsupportedModelError
from vllm_local.models.checkpoint import open_checkpoint, read_safetensors_header

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.ones(4, dtype=torch.bfloat16),
    "c": torch.full((2,), 0.5, dtype=torch.float16),
    "d": torch.ones(3, dtype=torch.int8),
}


def write_index(folder: Path, places: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")


def read_all(folder: Path, load_format: str = "auto") -> dict[str, torch.Tensor]:
    with closing(open_checkpoint(folder, load_format)) as checkpoint:
        return {name: checkpoint.read(name).clone() for name in checkpoint.tensors}


def assert_equal(actual: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor)


def test_one_file(tmp_path: Path):
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert_equal(read_all(tmp_path), TENSORS)
    with closing(open_checkpoint(tmp_path)) as checkpoint:
        assert checkpoint.tensors["a"].shape == (2, 3)
        assert [checkpoint.tensors[name].dtype for name in "abcd"] == ["float32", "bfloat16", "float16", "I8"]


def test_shards(tmp_path: Path):
    save_file({"a": TENSORS["a"]}, tmp_path / "one.safetensors")
    save_file({name: TENSORS[name] for name in "bcd"}, tmp_path / "two.safetensors")
    write_index(tmp_path, {name: "one.safetensors" if name == "a" else "two.safetensors" for name in TENSORS})
    assert_equal(read_all(tmp_path), TENSORS)


@pytest.mark.parametrize("places", [{"a": "gone.safetensors"}, {"a": "../one.safetensors"}, {"a": ""}, [1], {"a": 3}])
def test_an_index_that_names_what_is_not_there(places: Any, tmp_path: Path):
    save_file(TENSORS, tmp_path / "one.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    write_index(folder, places)
    with pytest.raises(CorruptModelError, match=r"index\.json"):
        open_checkpoint(folder)


def test_an_empty_folder(tmp_path: Path):
    with pytest.raises(CorruptModelError, match="has no weights"):
        open_checkpoint(tmp_path)


@hypothesis.given(keep=st.integers(min_value=0))
@hypothesis.settings(max_examples=60)
def test_a_file_that_was_cut_off(keep: int, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    save_file(TENSORS, path)
    content = path.read_bytes()
    path.write_bytes(content[: keep % len(content)])
    with pytest.raises(CorruptModelError, match=r"model\.safetensors.*download it again"):
        open_checkpoint(path.parent)


@hypothesis.given(place=st.integers(min_value=0), value=st.integers(0, 255))
@hypothesis.settings(max_examples=200)
def test_a_damaged_header_is_read_or_refused(place: int, value: int, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    save_file(TENSORS, path)
    content = bytearray(path.read_bytes())
    content[place % (8 + struct.unpack("<Q", content[:8])[0])] = value
    path.write_bytes(content)
    try:
        tensors = read_safetensors_header(path)
    except CorruptModelError:
        return
    assert all(tensor.file == path for tensor in tensors.values())


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 16]},
        {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F4_UNHEARD", "shape": [2], "data_offsets": [0, 100]},
        [],
        None,
    ],
)
def test_headers_at_odds_with_themselves(entry: Any, tmp_path: Path):
    header = json.dumps({"w": entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(CorruptModelError, match=r"model\.safetensors"):
        open_checkpoint(tmp_path)


def test_a_file_that_safetensors_itself_refuses(tmp_path: Path):
    # A hole between the tensors: our header check lets it pass, the library does not.
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with closing(open_checkpoint(tmp_path)) as checkpoint, pytest.raises(CorruptModelError, match="'w' cannot be read"):
        checkpoint.read("w")


def save_pickle(folder: Path, value: Any, **options: Any) -> None:
    torch.save(value, folder / "pytorch_model.bin", **options)


def test_pickle_files_are_refused_unless_asked_for(tmp_path: Path):
    save_pickle(tmp_path, TENSORS)
    with pytest.raises(UnsupportedModelError, match='load_format="pt"'):
        open_checkpoint(tmp_path)
    with pytest.raises(UnsupportedModelError):
        open_checkpoint(tmp_path, "safetensors")
    assert_equal(read_all(tmp_path, "pt"), TENSORS)


def test_pickle_files_of_old_torch(tmp_path: Path):
    save_pickle(tmp_path, TENSORS, _use_new_zipfile_serialization=False)
    assert_equal(read_all(tmp_path, "pt"), TENSORS)


def test_safetensors_win_over_pickle_files(tmp_path: Path):
    save_pickle(tmp_path, {"other": torch.ones(1)})
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert_equal(read_all(tmp_path, "pt"), TENSORS)


class Harmful:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_code_in_pickle_files_never_runs(tmp_path: Path):
    trace = tmp_path / "trace"
    save_pickle(tmp_path, {"a": Harmful(trace)}, pickle_module=pickle)
    with pytest.raises(CorruptModelError, match=r"pytorch_model\.bin cannot be loaded"):
        open_checkpoint(tmp_path, "pt")
    assert not trace.exists()


@pytest.mark.parametrize("value", [[1, 2], {"a": 3}])
def test_pickle_files_of_something_else(value: Any, tmp_path: Path):
    save_pickle(tmp_path, value)
    with pytest.raises(CorruptModelError, match="does not hold a state dict"):
        open_checkpoint(tmp_path, "pt")


@pytest.mark.parametrize("content", [b"PK\x03\x04 nothing", b"", b".", b"\x80\x02X", b"j\xda\xe7\x1cw", b"c\x1f\x9a"])
def test_damaged_pickle_files(content: bytes, tmp_path: Path):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CorruptModelError, match="cannot be loaded"):
        open_checkpoint(tmp_path, "pt")
