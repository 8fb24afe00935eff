"""Policies as files that other programs run: ONNX, StableHLO, and arrays with a list of operations for NumPy."""
