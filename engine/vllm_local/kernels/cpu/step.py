"""What all layers of a step share, for the native library."""

from __future__ import annotations

import ctypes

from vllm_local.kernels.interface import AttentionMetadata


class StepStructure(ctypes.Structure):
    """`AttentionStep` of native/api.h."""

    _fields_ = (
        ("positions", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("query_starts", ctypes.c_void_p),
        ("seq_lens", ctypes.c_void_p),
        ("block_tables", ctypes.c_void_p),
        ("block_table_stride", ctypes.c_int64),
        ("num_tokens", ctypes.c_int64),
        ("num_requests", ctypes.c_int64),
    )


class NativeStep:
    """One step's metadata.

    Attributes:
        metadata: What it was made of.
        address: Where the library finds it.
    """

    __slots__ = ("_structure", "address", "metadata")

    def __init__(self, metadata: AttentionMetadata) -> None:
        """Keeps the metadata, whose memory the library reads until the step is over."""
        self.metadata = metadata
        self._structure = StepStructure(
            metadata.positions.data_ptr(),
            metadata.slot_mapping.data_ptr(),
            metadata.query_start_loc.data_ptr(),
            metadata.seq_lens.data_ptr(),
            metadata.block_tables.data_ptr(),
            metadata.block_tables.stride(0),
            len(metadata.positions),
            len(metadata.query_lens),
        )
        self.address = ctypes.addressof(self._structure)
