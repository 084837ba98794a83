"""A static site of what was measured: an index of the runs and one page for each.

Everything comes through model/source.py; site/build.py makes the pages of pages/ out of tables/ and figures/.
"""
