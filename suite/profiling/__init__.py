"""Finds where the time of a training step goes on a device (`suite profile`).

Start at session.py; attribution.py joins the runner's times with the program's operators. peaks.py measures what a
device can do at best, and roofline.py compares operators with these peaks.
"""
