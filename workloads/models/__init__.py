"""Llama models: their configuration, their weights and where these come from, and the network itself.

Start at config.py and llama.py; zoo.py loads a model by name.
"""
