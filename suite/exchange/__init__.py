"""The store's numbers for other programs and other labs: tables, documents that can be imported, traces.

Start at dump.py and importing.py; document.py is what both agree on.
"""
