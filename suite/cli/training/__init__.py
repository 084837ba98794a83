"""Commands that train on devices and hand out what was trained.

Start at train.py.
"""
