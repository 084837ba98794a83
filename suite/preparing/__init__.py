"""Prepares on the host, before any device is used: programs, reference losses, runners.

Start at preparation.py; exporting.py runs export_process.py in a separate process.
"""
