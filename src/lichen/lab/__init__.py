"""The lab: models, their training and their measurement, in PyTorch; the codec wing reaches it by `runtime.engines`.

Its rooms may import PyTorch and the codec wing; each says which rooms of the lab.
"""
