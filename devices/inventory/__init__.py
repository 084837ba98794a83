"""inventory.yaml: which devices there are.

Start at entry.py, one device as the file describes it; reading.py has the whole file, editing.py changes it.
"""
