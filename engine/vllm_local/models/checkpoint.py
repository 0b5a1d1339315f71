"""Opens the weight files of a model's folder and reads them tensor by tensor."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vllm_local.errors import CorruptModelError, UnsupportedModelError

if TYPE_CHECKING:
    import torch

DTYPES: Mapping[str, tuple[str, int]] = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
}
"""Float formats of safetensors that can be loaded: torch's name and bytes."""

MAX_HEADER_BYTES = 100_000_000
"""The format's own bound (https://github.com/huggingface/safetensors#format)."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies and what it is like.

    Attributes:
        file: The file that holds it.
        dtype: torch's name of its number format, or the file's own where it cannot be loaded.
        shape: Its shape.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]


class Checkpoint(Protocol):
    """Weight files that are open."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor by name."""

    def read(self, name: str) -> torch.Tensor:
        """Returns a tensor on the CPU; it may be a view of the file, so copy what is to stay."""

    def close(self) -> None:
        """Closes the files."""


def open_checkpoint(folder: Path, load_format: str = "auto") -> Checkpoint:
    """Opens safetensors, sharded or single; pickle files only if there are none and `load_format` is "pt".

    Raises:
        UnsupportedModelError: Only pickle files, and they were not asked for.
        CorruptModelError: No weights, missing shards, or damaged files.
    """
    files = _weight_files(folder, "model.safetensors")
    if files:
        return SafetensorsCheckpoint(files)
    pickles = _weight_files(folder, "pytorch_model.bin")
    if pickles and load_format == "pt":
        return PickleCheckpoint(pickles)
    if pickles:
        message = (
            f"{folder} holds its weights as pickle files ({pickles[0].name}), which are refused because loading one "
            'can run code. Convert them to safetensors, or pass load_format="pt" if you trust their source.'
        )
        raise UnsupportedModelError(message)
    raise CorruptModelError(f"{folder} has no weights (model.safetensors or its index); download the model again.")


def _weight_files(folder: Path, name: str) -> list[Path]:
    """Returns the shards that the index names, or the single file, or nothing."""
    index = folder / f"{name}.index.json"
    if not index.is_file():
        single = folder / name
        return [single] if single.is_file() else []
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / shard for shard in shards]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptModelError(f"{index} is not a valid weight index; download the model again.") from error
    for shard, file in zip(shards, files, strict=True):
        if file.name != shard or not file.is_file():
            raise CorruptModelError(f"{index} names {shard!r}, which is not in {folder}; download the model again.")
    return files


class SafetensorsCheckpoint:
    """Safetensors files; their headers are checked before anything is read.

    Attributes:
        tensors: Every tensor by name.
    """

    def __init__(self, files: list[Path]) -> None:
        self.tensors: dict[str, TensorInfo] = {}
        for file in files:
            self.tensors.update(read_safetensors_header(file))

    def read(self, name: str) -> torch.Tensor:
        """Returns a tensor as a view of its file, which is mapped into memory as long as the tensor lives.

        A mapping a tensor, so that pages that were read do not stay in this process until everything is loaded.

        Raises:
            CorruptModelError: The file cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        file = self.tensors[name].file
        try:
            with safe_open(file, framework="pt") as opened:
                tensor: torch.Tensor = opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            message = f"{file}: tensor {name!r} cannot be read ({error}); download the file again."
            raise CorruptModelError(message) from error
        return tensor

    def close(self) -> None:
        """Does nothing: no file stays open."""


class PickleCheckpoint:
    """Pickle files, read by torch's restricted unpickler (`weights_only`), which builds tensors and runs no code.

    Attributes:
        tensors: Every tensor by name.
    """

    def __init__(self, files: list[Path]) -> None:
        self._values: dict[str, torch.Tensor] = {}
        self.tensors: dict[str, TensorInfo] = {}
        for file in files:
            for name, value in _unpickle(file).items():
                self._values[name] = value
                self.tensors[name] = TensorInfo(file, str(value.dtype).removeprefix("torch."), tuple(value.shape))

    def read(self, name: str) -> torch.Tensor:
        """Returns a tensor."""
        return self._values[name]

    def close(self) -> None:
        """Drops the tensors."""
        self._values.clear()


def _unpickle(file: Path) -> dict[str, torch.Tensor]:
    import zipfile

    import torch

    try:
        # Files of torch before 1.6 are no zip archives and cannot be mapped.
        values = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # damaged files make the unpickler raise all kinds, IndexError and KeyError among them
        raise CorruptModelError(f"{file} cannot be loaded ({type(error).__name__}: {error}).") from error
    if not isinstance(values, dict) or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise CorruptModelError(f"{file} does not hold a state dict: tensors by name.")
    return values


def read_safetensors_header(file: Path) -> dict[str, TensorInfo]:
    """Reads and checks the header of a safetensors file (https://github.com/huggingface/safetensors#format).

    Raises:
        CorruptModelError: It is no safetensors file, truncated, or at odds with itself.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            message = f"{file} is not a safetensors file or was cut off ({size} bytes); download it again."
            raise CorruptModelError(message)
        text = stream.read(length)
    try:
        entries = json.loads(text)
        entries.pop("__metadata__", None)
        return {name: _tensor_info(file, name, entry, size - 8 - length) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptModelError(f"{file} has a damaged header ({error!r}); download it again.") from error


def _tensor_info(file: Path, name: str, entry: Mapping[str, Any], data_bytes: int) -> TensorInfo:
    shape = tuple(entry["shape"])
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise CorruptModelError(f"{file}: tensor {name!r} has shape {entry['shape']!r}; download it again.")
    start, end = entry["data_offsets"]
    dtype, item_bytes = DTYPES.get(entry["dtype"], (str(entry["dtype"]), 0))
    if not 0 <= start <= end or (item_bytes and math.prod(shape) * item_bytes != end - start):
        raise CorruptModelError(
            f"{file}: tensor {name!r} has {end - start} bytes for shape {shape}; download it again."
        )
    if end > data_bytes:
        message = f"{file} was cut off: tensor {name!r} ends at byte {end} of {data_bytes}; download it again."
        raise CorruptModelError(message)
    return TensorInfo(file, dtype, shape)
