"""The names under which constructors take their width: the one list, for targets, inputs and plugged blocks."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

INPUT_CHANNELS = (
    *("in_channels", "in_chans", "in_chs", "in_channel", "in_ch", "in_c", "input_channels", "input_channel", "ch_in"),
)
"""Channels in, by names that mean nothing else; of a network too."""
INPUT_WIDTHS = (
    *("dim", *INPUT_CHANNELS, "in_planes", "inplanes", "inplans", "in_dim", "inp", "inc", "c1", "in_features"),
    *("in_filters", "input_dim", "num_channels", "n_channels", "num_filters", "num_feat", "n_feat", "n_feats", "nf"),
    *("channels", "channel", "ch", "num_features", "features", "filters", "embed_dim", "embed_dims", "d_model"),
    *("hidden_dim", "hidden_size", "width"),
)
"""Channels in, the plainest first: where a constructor takes several, the first of them is the input's."""
OUTPUT_WIDTHS = (
    *("out_channels", "out_chans", "out_chs", "out_channel", "out_planes", "outplanes", "outplans", "planes", "out_ch"),
    *("out_c", "out_dim", "oup", "ouc", "outc", "c2", "ch_out", "out_features", "out_filters", "output_channels"),
    *("output_channel", "output_dim"),
)
"""Channels out, of which a factory takes at most one."""


def first_of(names: Iterable[str], parameters: Mapping[str, Any]) -> str | None:
    """The first of ``names`` that is a parameter; ``width`` beside ``height`` is an extent, and no channels."""
    return next((name for name in names if name in parameters and not _is_extent(name, parameters)), None)


def widths_to_give(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """The parameters for channels that have no default, so that a block's width has to be given by them."""
    return [
        name
        for name in (*INPUT_WIDTHS, *OUTPUT_WIDTHS)
        if name in parameters
        and parameters[name].default is inspect.Parameter.empty
        and not _is_extent(name, parameters)
    ]


def input_channels(options: Mapping[str, Any], names: Iterable[str] = INPUT_WIDTHS) -> int | None:
    """Channels of the input of what is built with these options; None where none of them says."""
    numbers = {key: value for key, value in options.items() if isinstance(value, int) and not isinstance(value, bool)}
    name = first_of(names, numbers)
    return None if name is None else numbers[name]


def _is_extent(name: str, parameters: Mapping[str, Any]) -> bool:
    return name == "width" and "height" in parameters
