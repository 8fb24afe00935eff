"""The version of Holdfast: the only place that has it. pyproject.toml reads it from here."""

__version__ = "0.2.0.dev0"
