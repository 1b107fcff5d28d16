"""The pools: real vLLM engines, each its own process under a Ray Serve replica."""
