"""Quantization settings: how the frozen weights are stored and multiplied.

settings.py has the table of what differs between them; apply.py converts a model. How weights become codes stands in
the modules beside them.
"""
