"""Which number format a model is computed in."""

from __future__ import annotations

import logging
import platform

from vllm_local.config import DTYPE_BYTES
from vllm_local.errors import UnsupportedModelError

logger = logging.getLogger(__name__)


def resolve_dtype(requested: str, checkpoint_dtype: str, device: str) -> str:
    """Chooses the number format of activations, weights, K and V.

    | checkpoint or request | on the CPU | on cuda, mps |
    |---|---|---|
    | float32 | float32 | float32 |
    | bfloat16, "auto" | bfloat16 with the native kernels or where the CPU multiplies it, else float32 | bfloat16 |
    | bfloat16, asked for | bfloat16 | bfloat16 |
    | float16, "auto" | the same as bfloat16 (its numbers are rounded to it) | float16 |
    | float16, asked for | float32: no CPU kernel computes in float16, and every float16 number is one | float16 |

    Args:
        requested: `EngineConfig.dtype`.
        checkpoint_dtype: What config.json or the weights say.
        device: "cpu", "cuda" or "mps".

    Raises:
        UnsupportedModelError: "auto", and the checkpoint's format is none of the three.
    """
    wanted = checkpoint_dtype if requested == "auto" else requested
    if wanted not in DTYPE_BYTES:
        message = f"The checkpoint's dtype {wanted!r} is not supported; choose dtype= one of {', '.join(DTYPE_BYTES)}."
        raise UnsupportedModelError(message)
    chosen = wanted if device != "cpu" else _resolve_on_cpu(requested, wanted)
    if chosen != wanted:
        logger.info("dtype: the model is in %s, this CPU computes it in %s.", wanted, chosen)
    return chosen


def _resolve_on_cpu(requested: str, wanted: str) -> str:
    if wanted == "float32" or requested == "bfloat16":
        return wanted
    if requested == "float16" or not computes_bfloat16():
        return "float32"
    return "bfloat16"


def computes_bfloat16() -> bool:
    """Whether bfloat16 is no slower than float32 here.

    The native kernels always read half the bytes, whatever the CPU multiplies; torch's operators are slow without
    bf16 instructions.
    """
    from vllm_local.kernels.selection import native_library

    return native_library() is not None or cpu_multiplies_bfloat16()


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has bf16 dot products: AVX512-BF16 or AMX; on Arm what torch's own check asks for."""
    import torch

    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001
        return False
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return True
    # torch's names for these checks are private and have moved before.
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check is not None and check() for check in checks)
