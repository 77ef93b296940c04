"""Exports: the graphs that the codec runs without PyTorch, made from the lab's own modules.

May import everything of the lab but evaluation, reporting, inspection and papers.
"""
