"""Reads the output of a session, makes a record from it, and judges the record.

Start at record.py; events.py reads the runner's lines, event_log.py checks their order, collect.py makes the record,
and validity.py judges it.
"""
