"""The eager reference that every program is compared with.

Start at eager.py, the training written out as the formula says; losses.py keeps its losses with the artifact.
"""
