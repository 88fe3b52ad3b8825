"""Colours and type of plots. Series differ in colour and marker; the palette follows Okabe and Ito's, for all eyes."""

from __future__ import annotations

_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#c98600", "#3a9bdc", "#7a6f00", "#555b66")
_DARK = ("#5ab4e8", "#ff8f4a", "#2fcf9f", "#e6a3cf", "#f3bd4b", "#9ad6f7", "#d9cd4a", "#c3c8d2")
COLOURS = len(_LIGHT)

_BASE = """
.plot { font-family: "Inter", "Helvetica Neue", "Segoe UI", Arial, sans-serif; font-size: 12px; }
.plot text { fill: currentColor; }
.plot .axis, .plot .tick text { fill: currentColor; opacity: 0.8; }
.plot .grid { stroke: currentColor; stroke-opacity: 0.1; stroke-width: 1; }
.plot .frame { fill: none; stroke: currentColor; stroke-opacity: 0.35; }
.plot .guide { stroke: currentColor; stroke-opacity: 0.28; stroke-dasharray: 2 4; fill: none; }
.plot .guide-label { font-size: 10px; opacity: 0.6; }
.plot .front { fill: none; stroke: currentColor; stroke-opacity: 0.75; stroke-width: 1.6; }
.plot .roof { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.plot .marker { fill: currentColor; stroke: none; }
.plot .hollow .marker { fill: none; stroke: currentColor; stroke-width: 1.8; }
.plot .doubtful { opacity: 0.35; }
.plot .interval { stroke: currentColor; stroke-width: 1.2; stroke-opacity: 0.7; }
.plot .curve { fill: none; stroke: currentColor; stroke-width: 1.5; stroke-opacity: 0.85; }
.plot .fit { fill: none; stroke: currentColor; stroke-width: 1.2; stroke-dasharray: 5 3; opacity: 0; }
.plot .leader { stroke: currentColor; stroke-opacity: 0.4; stroke-width: 0.8; }
.plot .label { font-size: 11px; }
.plot .strong { font-weight: 650; }
"""


def marks_css(dark: bool = False) -> str:
    """One rule a series colour."""
    colours = _DARK if dark else _LIGHT
    return "".join(f".plot .s{index} {{ color: {colour}; }}\n" for index, colour in enumerate(colours))


def base_css() -> str:
    """What plots look like in either theme; lines and text take the colour of what they stand in."""
    return _BASE


def standalone_css() -> str:
    """The style of an SVG file of its own, which follows its reader's theme as the page does."""
    return (
        f"svg {{ color: #1c2430; background: #ffffff; }}\n{_BASE}{marks_css()}"
        f"@media (prefers-color-scheme: dark) {{\nsvg {{ color: #e4e8ef; background: #14181f; }}\n{marks_css(True)}}}\n"
    )
