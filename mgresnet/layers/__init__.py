"""What one residual function does, and the maps at the two ends of a network."""

from mgresnet.kernels.activations import ACTIVATIONS
from mgresnet.layers.cells import Explicit as Explicit
from mgresnet.layers.cells import Stepwise as Stepwise
from mgresnet.layers.contract import check_layer as check_layer
from mgresnet.layers.conv import Conv2d as Conv2d
from mgresnet.layers.dense import Dense as Dense
from mgresnet.layers.gru import GRU as GRU
from mgresnet.layers.image_maps import Convolve as Convolve
from mgresnet.layers.linear import BIASES
from mgresnet.layers.linear import Linear as Linear
from mgresnet.layers.pooling import Pool as Pool
from mgresnet.layers.pooling import PooledLinear as PooledLinear
from mgresnet.layers.widening import Widen as Widen

# One example of every kind of residual layer; the tests run over them.
LAYERS = tuple(Dense(6, a, b) for a in ACTIVATIONS for b in BIASES)
