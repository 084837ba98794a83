"""One module for each kind of page: its content, ready for the template.

Start at run.py; overview.py is the page that links to all others.
"""
