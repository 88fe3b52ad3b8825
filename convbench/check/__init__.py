"""Whether a saved baseline still holds."""
