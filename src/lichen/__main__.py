"""`python -m lichen`."""

from lichen.cli import run

run()
