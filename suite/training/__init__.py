"""Trains on devices (`suite train`, `suite race`), with held-out accuracy, checkpoints and budgets.

Start at plan.py (what is trained, and when it ends); trainer.py has the training of one setting on one device.
"""
