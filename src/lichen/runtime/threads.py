"""How many threads compute, of this process and its pictures together."""

from __future__ import annotations


def set_threads(count: int) -> None:
    """Compute with so many threads of the CPU from now on; 0 leaves it as it is."""
    if count:
        import torch

        torch.set_num_threads(count)


def shared_threads(device: str) -> int:
    """The threads that pictures can share; one for a graphics card, whose memory is not estimated."""
    if device != "cpu":
        return 1
    import torch

    return torch.get_num_threads()
