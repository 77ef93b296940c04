"""Make src/lichen/prior/functions.npz: functions that the fixed-point prior looks up.

Run once; the output is frozen with format version 1 and a test pins its sha256. Kept to show where the
integers come from. Each is f(i / 4096) * 4096, rounded, for i = 0, 1, ... until it stays constant.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

FUNCTIONS: dict[str, Callable[[float], float]] = {
    "half_tanh": lambda x: math.tanh(x) / 2,
    # log2 of the mean of 1 and 2^-x: what a smaller deviation leaves of a larger one, both as log2
    "log_mean": lambda x: math.log2((1 + 2**-x) / 2),
}


def table(function: Callable[[float], float]) -> np.ndarray:
    """Values in 2^-12, cut after the first that repeats to the end of +-2048."""
    values = [round(function(i / 4096) * 4096) for i in range(16 * 4096)]
    last = values[-1]
    length = next(n for n in range(len(values), 0, -1) if values[n - 1] != last) + 1
    return np.array(values[:length], dtype=np.int32)


def main() -> None:
    tables = {name: table(function) for name, function in FUNCTIONS.items()}
    out = Path(__file__).parents[1] / "src/lichen/prior/functions.npz"
    np.savez_compressed(out, **tables)
    print(f"{out}: {out.stat().st_size} bytes, {[len(t) for t in tables.values()]} entries")


if __name__ == "__main__":
    main()
