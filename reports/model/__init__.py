"""The types that results consist of, and the interface through which reports read them.

Start at measurement.py; histories.py has the types that span many runs, quantities.py every metric with its unit,
source.py a run as a whole and the only interface between the store and the pages.
"""
