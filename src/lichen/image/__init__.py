"""Pictures: files, Pillow images, arrays and tensors <-> `Picture`, with their metadata, and back to files.

May import numpy, Pillow, `bitstream` and `errors`; never PyTorch.
"""
