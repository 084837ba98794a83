"""What a program computes, operator by operator: names, groups, operations and bytes, from the program file alone.

Start at instructions.py. program_file.py reads the file, delegate_graph.py tells XNNPACK's nodes apart, kernels.py
knows our own operators.
"""
