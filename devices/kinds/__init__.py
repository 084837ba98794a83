"""Families of devices: what can be read on each, and how.

Start at kind.py, which has the Protocol and the list `KINDS`; a kind is a module of its own.
"""
