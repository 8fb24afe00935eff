"""The doctor: is a log fit for offline learning, and which methods suit it."""
