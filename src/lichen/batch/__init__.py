"""Many pictures: which output belongs to which input, workers, their memory, and Ctrl-C.

May import the codec wing; never PyTorch, and nothing of `lab` or `cli`.
"""
