r"""Optimisers by name, each a chain of transforms.

References
----------
.. [1] D. P. Kingma, J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
.. [2] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
"""

from mgresnet.arrays.trees import Tree
from mgresnet.learning import schedules
from mgresnet.learning.schedules import Rate
from mgresnet.learning.transforms import (
    Transform,
    add_decayed_weights,
    chain,
    scale_by_adam,
    scale_by_learning_rate,
    trace,
)


def sgd(
    learning_rate: Rate, momentum: float = 0.0, nesterov: bool = False
) -> Transform:
    r"""Gradient descent, plain or with momentum.

    Parameters
    ----------
    learning_rate : float or callable
        Rate, or a function of the step number counted from 0.
    momentum : float, optional
        Weight of past gradients, in [0, 1).
    nesterov : bool, optional
        Nesterov's form of momentum in place of Polyak's; see `trace`.

    Notes
    -----
    :math:`\theta_{k+1} = \theta_k - \alpha_k t_k`, :math:`\alpha_k` =
    `learning_rate`, :math:`t_k` the step of `trace` with :math:`\mu` = `momentum`.
    """
    schedules.check_fraction("momentum", momentum)
    if nesterov and momentum == 0.0:
        raise ValueError(
            "nesterov=True with momentum = 0: need momentum > 0 to look ahead along; "
            "try momentum=0.9"
        )
    descend = scale_by_learning_rate(learning_rate)
    return chain(trace(momentum, nesterov), descend) if momentum else chain(descend)


def adam(
    learning_rate: Rate, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Transform:
    r"""Adam: steps of nearly the same length in every coordinate.

    Parameters
    ----------
    learning_rate : float or callable
        Rate, or a function of the step number counted from 0.
    beta1, beta2 : float, optional
        Weight of the past in the means of gradients and of their squares.
    epsilon : float, optional
        Keeps the quotient finite; added outside the root.

    Notes
    -----
    Algorithm 1 of [1]_, with k counted from 1 in these four lines:
    :math:`m_k = \beta_1 m_{k-1} + (1 - \beta_1) g_k`,
    :math:`v_k = \beta_2 v_{k-1} + (1 - \beta_2) g_k^2`,
    :math:`\hat m = m_k/(1 - \beta_1^k)`, :math:`\hat v = v_k/(1 - \beta_2^k)`,
    :math:`\theta \leftarrow \theta - \alpha\,\hat m/(\sqrt{\hat v} + \epsilon)`
    with :math:`\alpha` = `learning_rate`, m, v = `AdamState` mean, square.
    """
    return chain(
        scale_by_adam(beta1, beta2, epsilon), scale_by_learning_rate(learning_rate)
    )


def adamw(
    learning_rate: Rate,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
    mask: Tree | None = None,
) -> Transform:
    r"""Adam with weight decay that bypasses the division by gradient size.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `adam`.
    weight_decay : float, optional
        Pull of all parameters towards zero, biases included.
    mask : Params, or a tuple of them, optional
        Factors of the decay, as in `add_decayed_weights`; ``weights_only(net)`` spares
        the biases.

    Notes
    -----
    Algorithm 2 of [2]_: :math:`\theta \leftarrow \theta - \alpha\,
    (\hat m/(\sqrt{\hat v} + \epsilon) + \lambda\theta)`, :math:`\lambda` =
    `weight_decay`. The decay is multiplied by the rate, as libraries do; the
    paper multiplies it by the schedule alone, so divide its value by the rate.
    """
    return chain(
        scale_by_adam(beta1, beta2, epsilon),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
