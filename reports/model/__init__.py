"""The nouns that results are made of, and what a report gets of them.

Start at measurement.py; run_contents.py and histories.py have what surrounds a measurement and what is known over many
runs, quantities.py every metric with its unit, source.py the one interface between the store and the pages.
"""
