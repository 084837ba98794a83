"""Figures that are reported and never asserted: they depend on the machine (docs/developing.md).

The servers and stores they run against are those of the tests (`tests.support`).
"""
