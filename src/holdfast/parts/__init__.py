"""Losses, targets, distributions, optimisers and networks: what algorithms are composed of."""
