"""The eager reference that every program is compared with.

Start at eager.py, a literal implementation of the training; losses.py stores its losses with the artifact.
"""
