"""What a training minimises: rate, distortion, and the correlation loss; the loss also for models of other libraries.

May import PyTorch, `coding.scales`, and of the lab `prior.families`, `prior.latents` and `models.config`.
"""
