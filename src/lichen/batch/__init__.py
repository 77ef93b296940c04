"""Many pictures: which output belongs to which input, workers, their memory, and Ctrl-C.

May import numpy, Pillow, codec, image, options and runtime; never PyTorch, and nothing of `lab` or `cli`.
"""
