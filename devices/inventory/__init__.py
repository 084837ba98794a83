"""inventory.yaml, the list of devices.

Start at entry.py, one device as the file describes it; inventory_file.py reads and changes the whole file.
"""
