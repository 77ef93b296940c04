"""Models as data: configs, the zoo of rows, weights files, CompressAI's checkpoints.

May import PyTorch, safetensors, image.files, options; of runtime level, migration, weights and weights_file;
of the lab prior and all below it.
"""
