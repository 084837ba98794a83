"""Nights that start on their own: a systemd user timer, or cron without systemd.

Start at timetable.py (what is scheduled) and __main__.py (what timer and cron start: one night, its output in a log).
"""
