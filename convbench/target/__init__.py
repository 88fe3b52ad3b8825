"""From a reference as typed to a module: found, built, weighted, transformed."""
