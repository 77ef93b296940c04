"""Models as data: configs, the zoo of rows, weights files, CompressAI's checkpoints.

May import PyTorch, safetensors, runtime.level, runtime.migration, and of the lab prior and all below it.
"""
