"""What a workload will cost, computed from shapes alone and without torch.

Start at estimate.py.
"""
