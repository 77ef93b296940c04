"""Make src/lichen/lab/fixed_point/functions.npz: functions that the fixed-point prior looks up.

Run once; the output is frozen with format version 1 and a test pins its sha256. Kept to show where the
integers come from. Each is f(i / 4096), in units of 2^-12 or 2^-24, for i = 0, 1, ... until it stays constant.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

FUNCTIONS: dict[str, tuple[Callable[[float], float], int]] = {
    "half_tanh": (lambda x: math.tanh(x) / 2, 12),
    # log2 of the mean of 1 and 2^-x: what a smaller deviation leaves of a larger one, both as log2
    "log_mean": (lambda x: math.log2((1 + 2**-x) / 2), 12),
    # the normal distribution's upper tail
    "tail": (lambda x: math.erfc(x / math.sqrt(2)) / 2, 24),
    # 2^-x for x in [0, 1)
    "halving": (lambda x: 2 ** -min(x, 1), 24),
}


def table(function: Callable[[float], float], bits: int) -> np.ndarray:
    """Values in 2^-bits, cut after the first that repeats to the end."""
    values = [round(function(i / 4096) * 2**bits) for i in range(16 * 4096)]
    last = values[-1]
    length = next(n for n in range(len(values), 0, -1) if values[n - 1] != last) + 1
    return np.array(values[:length], dtype=np.int32)


def main() -> None:
    tables = {name: table(function, bits) for name, (function, bits) in FUNCTIONS.items()}
    out = Path(__file__).parents[1] / "src/lichen/lab/fixed_point/functions.npz"
    np.savez_compressed(out, **tables)
    print(f"{out}: {out.stat().st_size} bytes, {[len(t) for t in tables.values()]} entries")


if __name__ == "__main__":
    main()
