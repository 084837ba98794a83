"""What reports read from the store, question by question.

Start at source.py, which puts the answers together.
"""
