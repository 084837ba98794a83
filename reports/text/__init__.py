"""Words, numbers and marks in the form that people read, and text made safe for its destination.

Start at numbers.py; escaping.py is used wherever text comes from a device or a file.
"""
