"""How a step gets its gradient: P-RGE (MobiZO, arXiv 2409.15520) and its relatives, in forward passes.

Start at prge_step.py, the step itself; passes.py has its loops, noise.py its perturbations.
"""
