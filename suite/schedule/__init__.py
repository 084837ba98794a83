"""Nights by themselves: a systemd user timer, or cron where there is none.

Start at timetable.py (what is scheduled) and __main__.py (what timer and cron start: one night, its output in a log).
"""
