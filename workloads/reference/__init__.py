"""The eager reference that every program is compared with.

Start at eager.py, a literal implementation of P-RGE's training; of_methods.py has the other methods, and losses.py
stores the losses with the artifact.
"""
