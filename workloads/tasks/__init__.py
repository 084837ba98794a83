"""Tasks: labelled texts, and how they become the batches that a program trains on.

Start at task.py, then batches.py.
"""
