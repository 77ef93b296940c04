"""The table of the correlation experiment, from the numbers of its runs: NUMBERS/ARM-SEED.json.

    scripts/claim_table.py NUMBERS [--set valid] [--plain plain] [--json]

Each arm over the plain one, in percent: the mean over seeds that both have, and its 95 % interval (Student's t; none
for one seed). J is by files, over R of the plain one: 100 (J - J_plain) / R_plain, which to first order is the BD-rate.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from scipy.stats import t as student

PRIORS = ("hyperprior", "own-channel", "all-channels")


def measures(plain: dict[str, Any], arm: dict[str, Any]) -> dict[str, float]:
    """What is compared in a pair, in percent; gaps and correlations of the arm itself beside those of the plain one."""
    before, after = plain["files"], arm["files"]
    found = {"J, files": 100 * (after["j"] - before["j"]) / before["bpp"]}
    for name, key in (("R", "bpp"), ("R of y", "bpp_y"), ("R of z", "bpp_z")):
        found[name] = 100 * (after[key] / before[key] - 1)
    found["PSNR, dB"] = after["psnr_db"] - before["psnr_db"]
    for prior in PRIORS:
        a, b = plain["refitted"][prior], arm["refitted"][prior]
        found[f"J under {prior}"] = 100 * (b["j"] - a["j"]) / a["bpp"]
    for name in ("own-channel-means", "own-channel", "all-channels"):
        found[f"gap {name}, plain"] = 100 * plain["gap"][name]
        found[f"gap {name}"] = 100 * arm["gap"][name]
    for name in ("off_centre", "rate_weighted_rho"):
        found[f"{name}, plain"] = plain["latents"][name]
        found[name] = arm["latents"][name]
    return found


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half of the 95 % interval, nan for a single value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return mean, float(student.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))


def table(folder: Path, data: str, plain: str) -> dict[str, dict[str, Any]]:
    """For each arm: the seeds, and mean and half interval of each measure."""
    runs: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        arm, seed = path.stem.rsplit("-", 1)
        runs.setdefault(arm, {})[seed] = json.loads(path.read_text())["sets"][data]
    found = {}
    for arm, seeds in runs.items():
        pairs = {s: measures(runs[plain][s], one) for s, one in seeds.items() if s in runs.get(plain, {})}
        if arm == plain or not pairs:
            continue
        names = next(iter(pairs.values()))
        found[arm] = {"seeds": sorted(pairs), **{n: interval([pair[n] for pair in pairs.values()]) for n in names}}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", type=Path)
    parser.add_argument("--set", default="valid")
    parser.add_argument("--plain", default="plain")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = table(options.numbers, options.set, options.plain)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for arm, rows in found.items():
        print(f"\n{arm} over {options.plain}, {options.set}, seeds {', '.join(rows['seeds'])}")
        for name, (mean, half) in ((n, v) for n, v in rows.items() if n != "seeds"):
            spread = "" if math.isnan(half) else f" ± {half:.3f}"
            print(f"  {name:32} {mean:+9.4f}{spread}")


if __name__ == "__main__":
    main()
