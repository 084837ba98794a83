"""A run, from its plan to its stored sessions.

Start at orchestrate.py, then fleet.py (devices side by side, and the connection and rounds of each), session.py (a
planned session and its repetitions), job.py (one process) and recording.py (what the store gets).
"""
