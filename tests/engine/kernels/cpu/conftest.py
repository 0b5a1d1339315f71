"""The native library on every instruction set that this machine has."""

import os
from collections.abc import Iterator

import pytest

from vllm_local.errors import InvalidConfigError
from vllm_local.kernels.cpu.library import INSTRUCTION_SETS, NativeLibrary, load_library
from vllm_local.kernels.selection import KERNELS_VARIABLE


@pytest.fixture(params=INSTRUCTION_SETS)
def library(request: pytest.FixtureRequest) -> Iterator[NativeLibrary]:
    library = load_library()
    if library is None:
        assert os.environ.get(KERNELS_VARIABLE) != "native", "the native library was not built"
        pytest.skip("the native library was not built")
    before = library.isa, library.num_threads
    try:
        library.use_isa(request.param)
    except InvalidConfigError as error:
        pytest.skip(str(error))
    yield library
    library.use_isa(before[0])
    library.set_num_threads(before[1])
