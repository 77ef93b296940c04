"""Symbols <-> bytes: frozen tables, the table index of each symbol, the range coder, Writer and Reader.

May import numpy, constriction and errors; never PyTorch.
"""
