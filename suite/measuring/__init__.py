"""A run, from its plan to its stored sessions.

Start at orchestrate.py, then fleet.py (devices side by side), campaign.py (one device: its connection, its rounds),
attempts.py (a planned session and its repetitions), session.py (one process) and recording.py (what the store gets).
"""
