"""What the papers and their repositories print about these networks. Imports no torch."""

from __future__ import annotations

from pathlib import Path


def figures() -> Path:
    """The table ``published_figures.csv``, one row a published figure.

    system, variant: as published; resolution: height and width in pixels; params_m: parameters in millions; gmacs:
    cost in units of 1e9, counted as ``convention`` says; top1: ImageNet-1K accuracy in %; source, notes: where it
    stands, and what is known of it; target, options: the network that it is about, options as a JSON object;
    explanation: why it differs from the network where it does. Not published is empty.
    """
    return Path(__file__).with_name("published_figures.csv")
