"""Logs of several agents: `TeamDataset`, its files, and its checks."""
