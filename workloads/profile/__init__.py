"""Lists what a program computes, operator by operator: names, groups, operations and bytes, from the file alone.

Start at instructions.py. program_file.py reads the file, delegate_graph.py identifies XNNPACK's nodes, kernels.py
describes our own operators.
"""
