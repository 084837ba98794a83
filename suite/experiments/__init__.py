"""Experiments: questions about a device that one command answers. A plan file says what is measured, a module of
answers/ computes the answer from that alone. Start reading at experiment.py, then conduct.py and any answer.
"""

EXPERIMENTS = (
    "headline",
    "precision",
    "parallelism",
    "estimators",
    "bottleneck",
    "generalization",
    "memory",
    "sustained",
    "power-modes",
    "fine-tune",
)
"""Every experiment, in the order in which one would make them."""
