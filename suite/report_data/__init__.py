"""Reads the store for reports.

Start at source.py, which combines the modules.
"""
