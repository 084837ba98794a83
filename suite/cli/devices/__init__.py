"""`suite devices` and its commands.

Start at inventory.py, which has the group and all commands except `calibrate`.
"""
