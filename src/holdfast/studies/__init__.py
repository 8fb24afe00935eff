"""Experiments from the papers. Each is one command: `holdfast studies NAME`."""
