"""Tables and the sections that hold them, and the same data as files beside a page.

Start at sections.py, then results.py, the tables of a run.
"""
