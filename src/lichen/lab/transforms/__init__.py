"""The networks between pixels and latents, and between latents and hyper-latents: transforms of every model row.

May import PyTorch and nothing else of the package. Nothing here knows of entropy or bits.
"""
