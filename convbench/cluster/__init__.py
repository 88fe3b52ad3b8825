"""Sweeps as jobs of Slurm."""
