"""Clocks of the devices and the rounds in which targets take turns."""
