"""Codecs measured on whole files: results tables, rate-distortion curves, BD-rates, leaderboards, costs of networks.

May import the codec wing and, of the lab, models, engine, post_filter, prior, transforms and training.data; nothing of
reporting, inspection or papers, which build on this room.
"""
