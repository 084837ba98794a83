"""A night: measure the plan, screen every series, measure suspects again beside their baseline, judge, report.

Start at night.py, then judging.py; summary.py and notices.py carry the outcome to people.
"""
