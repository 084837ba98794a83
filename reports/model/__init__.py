"""What a report is made of.

Start at source.py, the one interface between the store and the pages; histories.py and measurements.py are what it
gives.
"""
