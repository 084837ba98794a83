"""Estimates of a workload's cost, computed from shapes alone and without torch.

Start at estimate.py.
"""
