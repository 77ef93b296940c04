"""What runs a model: where its engine and weights are found, tiles, levels, memory; names in older files.

May import numpy, bitstream, coding, image.files and options; the lab only in `engines`, when that is called.
"""
