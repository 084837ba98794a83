"""Commands for results: viewing, naming and exporting them, and removing what nobody needs.

Start at history.py.
"""
