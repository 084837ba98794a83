"""What a workload will take, known from shapes alone and without torch.

Start at estimate.py.
"""
