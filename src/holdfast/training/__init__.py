"""The one training loop, the run folder around it, and what watches it."""
