"""Entropy models: schedules, sources, entropy parameters, predict and absorb, and the walk over them.

May import PyTorch, numpy, coding, and of the lab transforms and fixed_point.
"""
