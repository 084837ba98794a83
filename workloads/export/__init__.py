"""Turns a workload into an artifact.

Start at program.py (the modules of a step), then export.py (the program file) and artifact.py (the cache of programs).
"""
