"""Pages of one file and figures: a results folder, a photograph by all codecs at equal bytes.

May import the codec wing and, of the lab, evaluation, models.zoo and training.data; nothing of papers.
"""
