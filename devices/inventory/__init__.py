"""inventory.yaml, the list of devices.

Start at entry.py, one device as the file describes it; reading.py reads the whole file, editing.py changes it.
"""
