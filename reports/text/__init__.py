"""Words, numbers and marks as people read them, and text made safe for where it goes.

Start at numbers.py; escaping.py is used wherever text comes from a device or a file.
"""
