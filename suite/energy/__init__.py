"""Computes energy and power of a window and a session, reads meters, and finds the unit of a gauge.

Start at session_energy.py.
"""
