"""Codecs measured on whole files: results tables, rate-distortion curves, BD-rates, leaderboards, costs of networks.

May import the codec and, of the lab, engine, models, prior, post_filter, transforms, tensors and training.data.
"""
