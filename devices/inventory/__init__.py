"""inventory.yaml, the list of devices.

Start at entry.py, one device as described in the file; own_sensors.py has the sensors that an entry may define;
inventory_file.py reads and changes the whole file.
"""
