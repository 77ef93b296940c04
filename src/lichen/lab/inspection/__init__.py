"""Statistics of a model's latents on pictures, as numbers and drawn: the papers' visualisations.

May import the codec wing and, of the lab, losses, models, prior, tensors and training.data; nothing of evaluation,
reporting or papers.
"""
