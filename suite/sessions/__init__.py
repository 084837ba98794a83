"""The output of one session and the record made from it.

Start at record.py; events.py reads the runner's lines, collect.py makes the record, validity.py judges it.
"""
