"""Networks in integers on a power-of-two grid, so that every machine computes the same: layers and their registry.

May import PyTorch, numpy, runtime.fixed_point, and of the lab transforms.
"""
