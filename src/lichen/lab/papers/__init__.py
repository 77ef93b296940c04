"""The papers' tables and figures: models trained and measured as there, ours beside what is printed.

May import the codec and all of the lab; nothing of the lab imports this package.
"""
