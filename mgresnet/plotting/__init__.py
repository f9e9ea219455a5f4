"""Figures, one file per subject; the only folder that imports matplotlib."""

from mgresnet.plotting.bias import draw_bias_budgets as draw_bias_budgets
from mgresnet.plotting.bias import draw_gradient_errors as draw_gradient_errors
from mgresnet.plotting.bias import draw_losses as draw_losses
from mgresnet.plotting.bias import save_bias as save_bias
from mgresnet.plotting.convergence import draw_factors as draw_factors
from mgresnet.plotting.convergence import draw_histories as draw_histories
from mgresnet.plotting.convergence import draw_iterations as draw_iterations
from mgresnet.plotting.convergence import draw_levels as draw_levels
from mgresnet.plotting.studies import draw_bands as draw_bands
from mgresnet.plotting.studies import draw_estimates as draw_estimates
from mgresnet.plotting.studies import draw_survival as draw_survival
from mgresnet.plotting.training import save_curves as save_curves
from mgresnet.plotting.training import save_regions as save_regions
