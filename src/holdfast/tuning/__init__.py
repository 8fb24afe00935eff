"""Searches for settings: `holdfast tune`, its samplers, and the engines that train its tasks."""
