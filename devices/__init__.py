"""Devices under test: how they are named, reached, checked, read and given files. Knows nothing of models.

access/ is the way in: connect.py there goes from an inventory entry to a device that is ours. `runner/` is the C++
program that measures on the device.
"""
