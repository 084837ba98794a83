"""Training what a model itself is stored as, without adapters: its weights, or their scales.

Start at own_weights.py, then step.py; operators.py has what the runner's kernels compute for it.
"""
