"""The nouns that results are made of, and what a report gets of them.

Start at measurement.py; histories.py has what is known over many runs, quantities.py every metric with its unit,
source.py a run as a whole and the one interface between the store and the pages.
"""
