"""The papers' tables and figures: models trained and measured as they were, ours beside what is printed.

The top of the lab: may import the codec wing and every room of it, among them evaluation, inspection and reporting; no
room of it imports this one.
"""
