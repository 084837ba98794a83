"""Carries out a night: measures the plan, screens every series, confirms suspects, judges and reports.

Start at night.py, then judging.py; summary.py and notices.py bring the outcome to people.
"""
