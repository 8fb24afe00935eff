"""Data set validation."""
