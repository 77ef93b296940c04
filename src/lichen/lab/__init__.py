"""The lab: models, their training and their measurement, in PyTorch; the codec reaches it by `runtime.engines`.

Its packages may import PyTorch and the codec; each says which packages of the lab.
"""
