"""Run folders: settings, files, checkpoints, tables, and reading a run back."""
