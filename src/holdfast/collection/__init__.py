"""Making data sets: playing behaviours, presets of published logs, and the replay of a run."""
