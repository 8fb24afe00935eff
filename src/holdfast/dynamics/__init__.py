"""Learned models of an environment: ensembles, their training, penalties for what they do not know, rollouts, ends."""
