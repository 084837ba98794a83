"""Regression statistics as pure functions: numbers in, verdicts out; nothing here knows a device or the store.

The order of a night: screen.py (cheap, every series), confirmation.py (fresh pairs of suspects), verdict.py.
segments.py decides what may be compared at all; change_points.py and drift.py analyse whole histories.
"""
