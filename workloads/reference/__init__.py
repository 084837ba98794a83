"""The eager reference that every program is compared with.

Start at eager.py, a literal implementation of P-RGE's training; of_methods.py has those of the other methods, and
losses.py stores its losses with the artifact.
"""
