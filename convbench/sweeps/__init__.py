"""Grids of cases, measured one by one into a store."""
