"""Devices over SSH: strict about who answers, and about what a silent peer means.

Start at link.py; connection.py logs in, endpoint.py has addresses and host keys.
"""
