"""What one residual function does, and the maps at the two ends of a network."""

from mgresnet.layers.dense import Dense as Dense
from mgresnet.layers.linear import Linear as Linear
from mgresnet.layers.widening import Widen as Widen
