"""The contract of an algorithm, and the types and tools that it needs. Imports nothing from the rooms above."""
