"""Families of devices: what can be read on each, and how.

Start at kind.py, which has the Protocol, plain Linux and the list `KINDS`; every other kind has its own module.
"""
