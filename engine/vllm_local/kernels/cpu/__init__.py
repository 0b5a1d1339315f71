"""Native kernels for CPUs: a C++ library behind ctypes, and the backend that speaks to it.

| file | what it holds |
|---|---|
| `library.py` | finds and loads the library; instruction set and threads |
| `backend.py` | `NativeKernels`: the interface, in terms of the files below |
| `program.py` | a network's calls, recorded once and made in one |
| `norm.py` | root-mean-square norm and layer norm |
| `attention.py` | one layer's attention: rotation, KV write and paged attention |
| `kv_cache.py` | the paged K and V of one layer |
| `rotation.py` | cosines and sines of rotary embeddings |
| `step.py` | what all layers of a step share |
| `experts.py` | mixtures of experts: routing, and a linear for each group of rows |
| `sampling.py` | draws from whole vocabularies, and log-probabilities |
| `native/` | the library's source |
"""

from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import NativeLibrary, load_library

__all__ = ["NativeKernels", "NativeLibrary", "load_library"]
