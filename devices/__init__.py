"""Devices under test: how they are named, reached, checked and read, and how files get there. Independent of models.

Start at access/connect.py, which turns an inventory entry into a device that we hold. `runner/` is the C++ program that
measures on the device.
"""
