"""Policy without tensors: which tokens are computed next, and in which KV blocks. Imports no torch."""
