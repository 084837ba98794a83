"""`suite train`: training on devices, with held-out accuracy, checkpoints and budgets.

Start at plan.py (what is trained, and when it ends); trainer.py is the training of one setting on one device.
"""
