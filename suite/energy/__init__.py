"""Energy and power: of a window, of a session, from a meter, and what a gauge's unit is.

Start at session_energy.py.
"""
