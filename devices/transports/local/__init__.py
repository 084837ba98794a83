"""This machine as a device: subprocesses and the host's own file system.

Start at transport.py; shell.py runs the scripts that must be the same on every device.
"""
