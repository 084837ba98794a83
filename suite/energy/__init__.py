"""Energy and power of a window, of a session, from a meter; and the unit of a gauge.

Start at session_energy.py.
"""
