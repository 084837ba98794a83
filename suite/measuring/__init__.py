"""Carries out a run, from its plan to its stored sessions.

Start at orchestrate.py, then fleet.py (devices in parallel, with each one's connection and rounds), session.py (a
planned session and its repetitions), job.py (one process) and recording.py (what is stored).
"""
