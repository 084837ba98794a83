"""Devices over SSH.

Start at link.py; connection.py logs in, endpoint.py has addresses and host keys.
"""
