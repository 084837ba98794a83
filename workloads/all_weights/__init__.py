"""Training all weights of a model, without adapters.

Start at step.py; operators.py has what the runner's kernels compute for it.
"""
