"""P-RGE (MobiZO, arXiv 2409.15520): a training step made of forward passes, as one program."""
