"""Trainings: recipes, training pictures, the loop over steps, checkpoints, what is printed and logged.

May import the codec and, of the lab, models, losses, engine, prior and post_filter; of the rest nothing.
"""
