"""The store's data for other programs and other labs: tables, importable documents, traces.

Start at dump.py and importing.py; document.py is what both agree on.
"""
