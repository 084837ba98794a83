"""The output of one session and the record made from it.

Start at record.py; events.py reads the runner's lines, event_log.py their order, collect.py makes the record, and
validity.py judges it.
"""
