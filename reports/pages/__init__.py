"""One module for each kind of page: what it shows, ready for its template.

Start at run.py; overview.py is the page that leads to all others.
"""
