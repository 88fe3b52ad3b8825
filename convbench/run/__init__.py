"""Carrying out cases: in this process, in worker processes, on a cluster; and keeping what they gave."""
