"""Training steps that estimate their gradient from forward passes: P-RGE (MobiZO, arXiv 2409.15520) and relatives.

Start at prge_step.py; passes.py has its loops, noise.py its perturbations.
"""
