"""Layer-parallel training of residual networks by multigrid reduction in time."""

import mgresnet.starting  # noqa: F401  what Ctrl-C does while the rest is loaded
from mgresnet.accuracy.gradient_error import GradientError as GradientError
from mgresnet.accuracy.gradient_error import (
    estimate_gradient_error as estimate_gradient_error,
)
from mgresnet.accuracy.predicted_convergence import Prediction as Prediction
from mgresnet.accuracy.predicted_convergence import (
    predict_convergence as predict_convergence,
)
from mgresnet.arrays.memory import release_memory as release_memory
from mgresnet.arrays.trees import global_norm as global_norm
from mgresnet.chain import Chain as Chain
from mgresnet.control import BSpline as BSpline
from mgresnet.control import Free as Free
from mgresnet.control import Shared as Shared
from mgresnet.data import Batch as Batch
from mgresnet.data import augmented as augmented
from mgresnet.data import batches as batches
from mgresnet.data import load_problem as load_problem
from mgresnet.data import padded as padded
from mgresnet.kernels.threads import set_threads as set_threads
from mgresnet.layers import GRU as GRU
from mgresnet.layers import Conv2d as Conv2d
from mgresnet.layers import Convolve as Convolve
from mgresnet.layers import Dense as Dense
from mgresnet.layers import Explicit as Explicit
from mgresnet.layers import Linear as Linear
from mgresnet.layers import Pool as Pool
from mgresnet.layers import PooledLinear as PooledLinear
from mgresnet.layers import Stepwise as Stepwise
from mgresnet.layers import Widen as Widen
from mgresnet.layers.contract import check_layer as check_layer
from mgresnet.learning.accurate import accurate as accurate
from mgresnet.learning.bias import BiasBudget as BiasBudget
from mgresnet.learning.bias import bias_budget as bias_budget
from mgresnet.learning.checkpoint import load_checkpoint as load_checkpoint
from mgresnet.learning.checkpoint import save_checkpoint as save_checkpoint
from mgresnet.learning.evaluation import Evaluation as Evaluation
from mgresnet.learning.evaluation import evaluate as evaluate
from mgresnet.learning.evaluation import predict as predict
from mgresnet.learning.frames import frame_features as frame_features
from mgresnet.learning.hybrid import hybrid as hybrid
from mgresnet.learning.ladder import Plan as Plan
from mgresnet.learning.ladder import default_options as default_options
from mgresnet.learning.layer_parallel import layer_parallel as layer_parallel
from mgresnet.learning.lbfgs import lbfgs as lbfgs
from mgresnet.learning.masks import weights_only as weights_only
from mgresnet.learning.nested import nested_iteration as nested_iteration
from mgresnet.learning.nested import refine as refine
from mgresnet.learning.noise import noise as noise
from mgresnet.learning.one_shot import one_shot as one_shot
from mgresnet.learning.optimisers import adam as adam
from mgresnet.learning.optimisers import adamw as adamw
from mgresnet.learning.optimisers import sgd as sgd
from mgresnet.learning.oracle import FirstOrder as FirstOrder
from mgresnet.learning.over_data import over_data as over_data
from mgresnet.learning.penalty import augmented_lagrangian as augmented_lagrangian
from mgresnet.learning.penalty import penalty as penalty
from mgresnet.learning.record import Record as Record
from mgresnet.learning.schedules import constant as constant
from mgresnet.learning.schedules import cosine as cosine
from mgresnet.learning.schedules import inverse as inverse
from mgresnet.learning.schedules import joined as joined
from mgresnet.learning.schedules import step_decay as step_decay
from mgresnet.learning.schedules import warm_up as warm_up
from mgresnet.learning.state import TrainState as TrainState
from mgresnet.learning.trainer import train as train
from mgresnet.learning.transforms import Transform as Transform
from mgresnet.learning.transforms import add_decayed_weights as add_decayed_weights
from mgresnet.learning.transforms import apply_updates as apply_updates
from mgresnet.learning.transforms import chain as chain
from mgresnet.learning.transforms import clip_by_global_norm as clip_by_global_norm
from mgresnet.learning.transforms import scale_by_adam as scale_by_adam
from mgresnet.learning.transforms import (
    scale_by_learning_rate as scale_by_learning_rate,
)
from mgresnet.learning.transforms import trace as trace
from mgresnet.mgrit.options import MGRITOptions as MGRITOptions
from mgresnet.mgrit.solver import Status as Status
from mgresnet.network import Network as Network
from mgresnet.network import Params as Params
from mgresnet.parallel import Machine as Machine
from mgresnet.parallel import ProcessGrid as ProcessGrid
from mgresnet.parallel import SerialComm as SerialComm
from mgresnet.parallel import TimeComm as TimeComm
from mgresnet.parallel import VirtualTimeComm as VirtualTimeComm
from mgresnet.resnets import resnet as resnet
from mgresnet.resnets import wide_resnet as wide_resnet
from mgresnet.saving.files import load as load
from mgresnet.saving.files import save as save
from mgresnet.saving.state_dict import from_state_dict as from_state_dict
from mgresnet.saving.state_dict import state_dict as state_dict
from mgresnet.solve.classification import BinaryCrossEntropy as BinaryCrossEntropy
from mgresnet.solve.classification import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from mgresnet.solve.combined import Combined as Combined
from mgresnet.solve.combined import Term as Term
from mgresnet.solve.combined import Weighted as Weighted
from mgresnet.solve.contract import check_objective as check_objective
from mgresnet.solve.every_step import EveryStep as EveryStep
from mgresnet.solve.from_solutions import input_gradient as input_gradient
from mgresnet.solve.from_solutions import parameter_gradient as parameter_gradient
from mgresnet.solve.gradient import Info as Info
from mgresnet.solve.gradient import value_and_gradient as value_and_gradient
from mgresnet.solve.penalties import Regularisation as Regularisation
from mgresnet.solve.propagation import solve_adjoint as solve_adjoint
from mgresnet.solve.propagation import solve_forward as solve_forward
from mgresnet.solve.regression import Huber as Huber
from mgresnet.solve.regression import LeastSquares as LeastSquares
from mgresnet.solve.solution import Solution as Solution
from mgresnet.solve.stages import local_slab as local_slab
from mgresnet.solve.stages import space as space
from mgresnet.solve.stages import whole_params as whole_params
from mgresnet.version import __version__ as __version__
