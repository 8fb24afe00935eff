"""Environments written in JAX, which are stepped inside a compiled program."""
