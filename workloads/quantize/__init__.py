"""Quantization settings: how the frozen weights are stored and multiplied.

settings.py has the table of their differences; apply.py converts a model. The other modules turn weights into codes.
"""
