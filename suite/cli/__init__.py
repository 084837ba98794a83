"""The command line: parse, act, print.

Start at main.py, which lists the commands and turns errors into sentences and exit codes. A command's module is
imported when it runs (lazy.py).
"""
