"""How a step estimates its gradient from forward passes: P-RGE (MobiZO, arXiv 2409.15520) and its relatives.

Start at prge_step.py, the step itself; passes.py has its loops, noise.py its perturbations.
"""
