"""Quantization settings: how the frozen weights are stored and multiplied.

Start at apply.py; each setting has a module of its own.
"""
