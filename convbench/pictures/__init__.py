"""Effective receptive fields as pictures: one drawing, for files, for pages and from Python."""
