"""Regression statistics as pure functions: numbers in, verdicts out. Nothing here knows of devices or the store.

In the order of a night: screen.py (cheap, for every series), confirmation.py (fresh pairs of suspects), verdict.py.
segments.py decides which points may be compared; change_points.py and drift.py analyse whole histories.
"""
