"""Devices that are reached through a POSIX shell: all of `Transport` over a link that can start `sh`.

Start at link.py, then transport.py; conversation.py is a single call, scripts.py has what the device's shell runs.
"""
