"""Environments written in JAX, which run inside a compiled program."""
