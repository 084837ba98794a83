"""Starts nights by a timer of the user's systemd, or by cron where there is no systemd.

Start at timetable.py (what is scheduled) and __main__.py (what the timer or cron starts: a night with a log).
"""
