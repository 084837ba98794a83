"""A static site of all measurements: an index of the runs and one page for each.

All data comes through model/source.py; site/build.py builds the pages in pages/ from tables/ and figures/.
"""
