"""`suite devices` and its commands.

Start at inspection.py, which has the group, with `list` and `check`.
"""
