"""Experiments of the papers, each one command: `holdfast studies NAME`."""
