"""Devices under test: how they are named, reached, checked, read and given files. Knows nothing of models.

access/ is the way in: its connect.py turns an inventory entry into a device that we hold. `runner/` is the C++
program that measures on the device.
"""
