"""The command line: parses, acts, prints.

Start at main.py, which lists the commands and turns errors into sentences and exit codes. A command's module is
imported when it runs (lazy.py).
"""
