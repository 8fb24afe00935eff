"""`python -m holdfast`."""

from .cli import command

command()
