"""Choosing a policy without an environment: estimates of its value from a log, and the choice between policies."""
