"""What one session printed and what is known of it.

Start at record.py; events.py reads the runner's lines, collect.py makes the record, validity.py judges it.
"""
