"""What reports read from the store.

Start at source.py, which combines the modules.
"""
