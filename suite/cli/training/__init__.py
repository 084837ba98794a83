"""Commands that train on devices and export what was trained.

Start at train.py.
"""
