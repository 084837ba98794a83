"""`suite devices` and its commands.

Start at list.py, which has the group.
"""
