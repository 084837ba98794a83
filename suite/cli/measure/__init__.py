"""Commands that measure, prepare to measure, or check the suite itself.

Start at run.py.
"""
