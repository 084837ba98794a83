"""Exports the store's data for other programs and labs (tables, documents, traces), and imports documents.

Start at dump.py and importing.py; document.py has the format that they share.
"""
