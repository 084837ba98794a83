"""inventory.yaml, the list of devices.

Start at entry.py, one device as the file describes it; own_sensors.py has the sensors that it may define;
inventory_file.py reads and changes the whole file.
"""
