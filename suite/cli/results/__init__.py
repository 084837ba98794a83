"""Commands for what was measured: looking at it, naming it, taking it out, removing what nobody needs.

Start at history.py.
"""
