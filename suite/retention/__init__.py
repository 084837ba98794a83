"""Decides what may be removed from the host and from devices, and removes it.

Start at survey.py; needed_programs.py finds what future nights may measure again.
"""
