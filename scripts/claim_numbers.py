"""Every number of the experiment about the correlation loss, of one weights file, as JSON (`lichen.lab.papers.claim`).

    scripts/claim_numbers.py WEIGHTS -o NUMBERS.json --train photos/ --set valid=valid/ --set kodak=kodak/

The gap is fitted to the pictures of --train, `--pictures` of them evenly among all, never to those of a --set.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from lichen.image.files import write_atomically
from lichen.image.picture import Picture, open_picture
from lichen.lab.evaluation.context_gap import Fit
from lichen.lab.papers.claim import Question, numbers
from lichen.lab.training.data import list_pictures
from lichen.runtime.allocator import keep_freed_memory


def evenly(folder: Path, count: int) -> list[Picture]:
    """`count` pictures of a folder, evenly among all in the order of their names; 0 for all."""
    paths = list_pictures(folder)
    count = min(count or len(paths), len(paths))
    return [open_picture(paths[i * len(paths) // count]) for i in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--set", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--pictures", type=int, default=180, help="training pictures to fit priors to")
    parser.add_argument("--limit", type=int, default=0, help="pictures of each set, 0 for all")
    parser.add_argument("--fit-steps", type=int, default=Fit().steps)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    sets = {name: evenly(Path(folder), options.limit) for name, folder in (s.split("=", 1) for s in options.set)}
    training = evenly(options.train, options.pictures)
    start = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - start:6.0f} s  {text}", file=sys.stderr, flush=True)

    found = numbers(Question(options.weights, sets, training, Fit(steps=options.fit_steps)), report)
    write_atomically(options.output, (json.dumps(found, indent=1) + "\n").encode(), overwrite=True)
    for name, measured in found["sets"].items():
        files = {key: round(value, 4) for key, value in measured["files"].items() if key != "each"}
        print(name, files, {key: round(value, 4) for key, value in measured["gap"].items()})


if __name__ == "__main__":
    main()
