"""Pages of one file and figures: a results folder, or photographs by all codecs at equal bytes.

May import the codec and, of the lab, evaluation, models.zoo and training.data.
"""
