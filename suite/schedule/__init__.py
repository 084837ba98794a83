"""Nights by themselves: a systemd user timer, or cron where there is none.

scheduled.py   what is scheduled: when, with which files, in which environment
units.py       the texts of the systemd units
crontab.py     the line for cron
systemd.py     installing the units, and what systemd says of them
cron.py        the same for cron
record.py      the last night that was started, its log, and whether one is due
__main__.py    what timer and cron start: one night, its output in a log
"""
