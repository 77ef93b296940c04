"""Statistics of a model's latents on pictures, as numbers and drawn: the papers' visualisations.

May import image, runtime.level and, of the lab, losses, models, prior and tensors.
"""
