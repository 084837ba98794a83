"""Carries out a night: measures the plan, screens every series, confirms suspects, judges and reports.

Start at night.py, then judging.py; summary.py writes the outcome, sending.py brings it to people.
"""
