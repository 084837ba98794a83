"""Quantization settings: how the frozen weights are stored and multiplied."""
