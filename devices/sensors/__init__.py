"""Sensors of devices: where a number comes from, in which unit, and why one isn't there.

Start at spec.py (what a sensor is) and reading.py (how a device's files are read); linux_host.py is the simplest whole
set.
"""
