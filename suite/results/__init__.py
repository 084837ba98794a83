"""Sessions of one workload on one device become a measurement.

Start at measurement.py; race.py compares trainings.
"""
