"""The version of convbench, a leaf: what records it must not import the package that offers it."""

__version__ = "0.1.0"
