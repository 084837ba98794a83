"""Experiments: questions about a device that one command answers.

A plan file lists what to measure, and a module in answers/ computes the answer from that alone. Start reading at
experiment.py, then conduct.py and any answer.
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
"""Every experiment, in a sensible order for carrying them out."""
