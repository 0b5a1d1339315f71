"""The native library: where it lies, what it is told once, and its functions."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch

from vllm_local.errors import InvalidConfigError

logger = logging.getLogger(__name__)

API_VERSION = 3
"""Must equal VLLM_LOCAL_API_VERSION of native/api.h."""

LIBRARY_VARIABLE = "VLLM_LOCAL_KERNELS_LIBRARY"
"""Environment variable: another library than the package's, such as one built with sanitizers."""

ISA_VARIABLE = "VLLM_LOCAL_CPU_ISA"
"""Environment variable: the instruction set, instead of the fastest that the machine has."""

INSTRUCTION_SETS = ("avx512_bf16", "avx512", "avx2", "neon_bf16", "neon", "portable")
"""Every instruction set that there are kernels for."""

LIBRARY_NAMES = ("libvllm_local_kernels.so", "libvllm_local_kernels.dylib", "libvllm_local_kernels.dll")
"""What the library is called, by system; it lies beside this file."""

_DTYPES = {torch.float32: 0, torch.bfloat16: 1}

Function = Callable[[object], None]
"""A function of the library; takes `ctypes.byref` of its arguments' structure."""


class NativeLibrary:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        """Loads a library.

        Args:
            path: The shared library.

        Raises:
            OSError: It is no library, or misses something that it needs.
        """
        self._library = ctypes.CDLL(str(path))
        self._library.vllm_local_isa.restype = ctypes.c_char_p
        for name in ("packed_bytes", "packed_columns"):
            getattr(self._library, f"vllm_local_{name}").restype = ctypes.c_int64
        # Calls that keep the interpreter's lock: whoever takes it meanwhile keeps it for longer than they last.
        self._short_calls = ctypes.PyDLL(str(path))

    @property
    def api_version(self) -> int:
        """The version of the C interface that it was built from."""
        return int(self._library.vllm_local_api_version())

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        name: bytes = self._library.vllm_local_isa()
        return name.decode()

    def use_isa(self, name: str) -> None:
        """Uses another instruction set from now on, for the whole process. What was packed before is lost.

        Raises:
            InvalidConfigError: There are no such kernels, or this machine cannot run them.
        """
        if not self._library.vllm_local_use_isa(name.encode()):
            message = f"This machine or this build of the kernels has no instruction set {name!r}"
            raise InvalidConfigError(f"{message}; there are {', '.join(INSTRUCTION_SETS)}.")

    @property
    def num_threads(self) -> int:
        """Threads that operations of the calling thread run on."""
        return int(self._library.vllm_local_num_threads())

    def set_num_threads(self, num_threads: int) -> None:
        """Sets on how many threads operations of the calling thread run."""
        self._short_calls.vllm_local_set_num_threads(num_threads)

    def packed_bytes(self, arguments: ctypes.Structure) -> int:
        """Returns the bytes that a weight takes once packed; see PackArguments of native/api.h."""
        return int(self._library.vllm_local_packed_bytes(ctypes.byref(arguments)))

    def packed_columns(self, out_features: int, *, gated: bool) -> int:
        """Returns the columns of a packed weight, padding included."""
        return int(self._library.vllm_local_packed_columns(ctypes.c_int64(out_features), ctypes.c_int32(gated)))

    def advise_huge_pages(self, memory: torch.Tensor) -> None:
        """Asks the system to put memory that was not used yet into huge pages."""
        address, size = ctypes.c_void_p(memory.data_ptr()), ctypes.c_int64(memory.nbytes)
        self._library.vllm_local_advise_huge_pages(address, size)

    def function(self, name: str) -> Function:
        """Returns `vllm_local_<name>`, which takes one structure and returns nothing."""
        function: Function = getattr(self._library, f"vllm_local_{name}")
        function.argtypes = [ctypes.c_void_p]  # type: ignore[attr-defined]
        function.restype = None  # type: ignore[attr-defined]
        return function


def dtype_code(dtype: torch.dtype) -> int:
    """Returns the number that stands for a dtype in the C interface (DTYPE_* in native/api.h)."""
    return _DTYPES[dtype]


@functools.cache
def load_library() -> NativeLibrary | None:
    """Returns the library, or None (and says why in the log) where it was not built or cannot be used."""
    path = _library_path()
    if path is None:
        return None
    try:
        library = NativeLibrary(path)
    except OSError as error:
        logger.warning("The native kernels cannot be loaded: %s", error)
        return None
    if library.api_version != API_VERSION:
        logger.warning("%s was built from another version of this package; reinstall it.", path)
        return None
    if wanted := os.environ.get(ISA_VARIABLE):
        library.use_isa(wanted)
    return library


def _library_path() -> Path | None:
    if named := os.environ.get(LIBRARY_VARIABLE):
        return Path(named)
    candidates = [Path(__file__).with_name(name) for name in LIBRARY_NAMES]
    return next((path for path in candidates if path.is_file()), None)
