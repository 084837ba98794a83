"""Training a model's own stored values, without adapters: its weights, or their scales.

Start at own_weights.py, which also defines the runner's operators for it, then step.py.
"""
