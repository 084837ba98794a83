"""Stores everything that was measured in one SQLite file: committed session by session, never rewritten.

Start at schema.py (the tables) and store.py (which writes and resumes); finding.py resolves names that a user typed.
"""
