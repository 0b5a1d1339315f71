"""The complete plain-torch backend: the reference for every faster one, and what runs where there is none.

| file | what it holds |
|---|---|
| `backend.py` | `TorchKernels`: the interface, in terms of the files below |
| `linear.py` | packed linears: oneDNN's layout on the CPU, plain rows elsewhere |
| `norm.py` | root-mean-square norm and layer norm |
| `attention.py` | rotation, KV write and paged attention of one layer |
| `experts.py` | mixtures of experts: routing, and one expert after the other |
| `kv_cache.py` | the paged K and V of one layer |
| `step.py` | what all layers of a step share: groups of requests, gathered blocks, masks, rotations |

The same code runs on cpu, cuda and mps. Its number formats: the residual stream, norms, rotations, softmax and the
attention scores are float32; activations, packed weights, K and V are in the model's dtype; logits are the model
dtype's matrix product, converted to float32.
"""

from vllm_local.kernels.torch_ref.backend import TorchKernels

__all__ = ["TorchKernels"]
