"""Llama models: configuration, weights and where they come from, the network itself.

Start at config.py and llama.py; zoo.py loads a model by its name.
"""
