"""Commands that view, name and export results, and remove what nobody needs.

Start at history.py.
"""
