"""Input gradients of one output pixel by evaluating every operator on the box that the pixel sees of it alone."""

from convbench.measures.erf.demand.evaluate import Demand, demand, elements_per_sample, input_gradient
from convbench.measures.erf.demand.record import Recording, Untraceable, record, record_layers

__all__ = [
    "Demand",
    "Recording",
    "Untraceable",
    "demand",
    "elements_per_sample",
    "input_gradient",
    "record",
    "record_layers",
]
