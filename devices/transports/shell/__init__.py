"""Devices reached through a POSIX shell: all of `Transport` over a link that can start `sh`.

Start at link.py, then transport.py; conversation.py is a single call, scripts.py has the scripts that the device's
shell runs.
"""
