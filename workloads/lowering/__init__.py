"""Lowers modules to delegates of ExecuTorch, part by part.

Start at delegation.py; constant_files.py keeps a model's constants out of memory during this.
"""
