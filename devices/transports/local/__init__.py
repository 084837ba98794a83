"""This machine as a device: subprocesses and the host's own file system.

Start at transport.py; shell.py serves what must work on every device by the same script.
"""
