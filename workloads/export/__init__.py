"""From a workload to an artifact.

Start at program.py (the modules of a step), then export.py (the program file) and artifact.py (what is kept, by
content).
"""
