"""Host work before any device is touched: programs, reference losses, runners.

Start at preparation.py; exporting.py runs export_process.py in a process of its own.
"""
