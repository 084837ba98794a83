"""Benchmarks, which report figures and assert nothing, as they depend on the machine (docs/developing.md).

They run against the servers and stores of the tests (`tests.support`).
"""
