"""Sensors of devices: where each number comes from, in which unit, and why one is missing.

Start at spec.py (what a sensor is) and reading.py (how a device's files are read); linux_host.py is the simplest
complete set.
"""
