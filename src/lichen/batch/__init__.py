"""Many pictures: which output belongs to which input, workers, their memory, and Ctrl-C; one machine, or many by Ray.

May import numpy, Pillow, codec, image, metrics, options, runtime; in calls Ray and pyarrow; never PyTorch, lab or cli.
"""
