"""Sessions of one workload on one device become a measurement.

Start at measurement.py; ratios.py compares settings.
"""
