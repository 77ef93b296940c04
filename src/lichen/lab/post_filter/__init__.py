"""The adaptive post-filter: filters that training learns, coefficients that the encoder chooses for a picture.

May import PyTorch, numpy, coding.scales, runtime.filter_*, and of the lab prior and transforms.
"""
