"""PyTorch's engine of the codec: pixels <-> latents <-> payloads, in tiles; refinement; precision.

May import PyTorch, runtime, options, and of the lab models, prior, post_filter and losses.distortion.
"""
