"""Training what a model itself is stored as, without adapters: its weights, or their scales.

Start at own_weights.py, which also has what the runner's kernels compute for it, then step.py.
"""
