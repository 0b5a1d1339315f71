"""The kernels: one interface (`interface.py`) and its backends; `torch_ref` is the plain-torch one."""
