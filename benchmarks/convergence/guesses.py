"""First approximations of a forward solve in training, compared at equal work.

A network is trained on the five classes of peaks, by exact gradients; at some steps the
forward solve of the next step is started from each of the guesses.  "last" is what the
step before knew: its states X, its parameters, and on every interval its defect
tau = end value - coarse step.

A guess is made once and has cost 0 or 1 sequential coarse solves; a correction costs
another one.  `residuals[c]` is the relative residual when c coarse solves have been
made, so a row can be compared with any other from left to right.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from convergence.defects import affine, coarse_steps, defects, fit
from harness.problem import corrections
from harness.table import Rows, rounded

M, CLASSES, BATCH, SOLVES = 16, 5, 100, 4
CHECKED = (1, 30, 150)  # steps of training
CONTROLS = {"spline": mg.BSpline(12), "free": mg.Free()}
Floats = Any


class Last(NamedTuple):
    """The solve of an earlier step, at the C-points: states (M + 1, batch, w)."""

    params: mg.Params
    states: Floats
    inputs: Floats
    labels: Floats


class Task(NamedTuple):
    """What has to be solved now, and what the two steps before it found."""

    net: mg.Network
    params: mg.Params
    inputs: Floats
    labels: Floats
    last: Last
    before: Last

    @property
    def first(self) -> Floats:
        """State before the first layer."""
        return self.net.open(self.params, self.inputs)


def last_states(task: Task) -> Floats:
    """Warm start."""
    return task.last.states


def extrapolated(task: Task) -> Floats:
    """Linear in the number of the step."""
    return 2.0 * task.last.states - task.before.states


def class_means(task: Task) -> Floats:
    """Mean of the last states of the samples of the same class."""
    return _means(task.last.states, task.last.labels)[:, task.labels]


def affine_in_first_state(task: Task) -> Floats:
    """Least-squares map from the first state, fitted to the last batch."""
    first = task.last.states[0]
    return np.stack([affine(fit(first, s), task.first) for s in task.last.states])


def coarse_with_last_defect(task: Task) -> Floats:
    """Coarse solve that adds the last defect, sample by sample."""
    defects = _defects(task)
    return _coarse_solve(task, lambda j, u: defects[j])


def coarse_with_mean_defect(task: Task) -> Floats:
    """Coarse solve that adds the mean of the last defects of the same class."""
    defects = _means(_defects(task), task.last.labels)
    return _coarse_solve(task, lambda j, u: defects[j, task.labels])


def coarse_with_affine_defect(task: Task) -> Floats:
    """Coarse solve that adds an affine fit of the last defects to the state."""
    states = task.last.states[:-1]
    maps = [fit(u, tau) for u, tau in zip(states, _defects(task), strict=True)]
    return _coarse_solve(task, lambda j, u: affine(maps[j], u))


class Guess(NamedTuple):
    """A guess by name: options of the package, or C-points, and its coarse solves."""

    name: str
    cost: int
    options: dict[str, Any]
    points: Callable[[Task], Floats] | None = None


ALWAYS = (
    Guess("zero", 0, {"initial_guess": "zero"}),
    Guess("constant", 0, {"initial_guess": "constant"}),
    Guess("coarse", 1, {}),
    Guess("coarse, injection", 1, {"coarse_operator": "injection"}),
    Guess("three levels, V start", 1, {"coarsening": (4, 4)}),
    Guess("three levels, F start", 1, {"coarsening": (4, 4), "cycle": "F"}),
)
GUESSES = {
    "same": (
        *ALWAYS,
        Guess("last states", 0, {}, last_states),
        Guess("extrapolated states", 0, {}, extrapolated),
        Guess("coarse + last defect", 1, {}, coarse_with_last_defect),
    ),
    "new": (
        *ALWAYS,
        Guess("class means of last states", 0, {}, class_means),
        Guess("affine in first state", 0, {}, affine_in_first_state),
        Guess("coarse + class mean of defect", 1, {}, coarse_with_mean_defect),
        Guess("coarse + affine fit of defect", 1, {}, coarse_with_affine_defect),
    ),
}


def study_guesses(seeds: tuple[int, ...], depth: int) -> Rows:
    """Compare the guesses for one batch trained on again and again, and new ones."""
    found: dict[Any, list[Any]] = {}
    cases = list(itertools.product(CONTROLS, GUESSES, seeds))
    for control, batch, seed in tqdm(cases, "guesses"):
        for step, task in tasks(control, batch, seed, depth):
            for guess in GUESSES[batch]:
                key = (control, batch, step, guess.name)
                found.setdefault(key, []).append(measure(task, guess))
    names = ("weights", "batch", "step", "guess")
    means = {key: np.exp(np.mean(np.log(runs), axis=0)) for key, runs in found.items()}
    return [
        dict(zip(names, key, strict=True)) | {"residuals": rounded(mean)}
        for key, mean in means.items()
    ]


def tasks(
    control: str, batch: str, seed: int, depth: int
) -> Iterator[tuple[int, Task]]:
    """Train, and stop at the steps to check."""
    net = mg.Network(
        mg.Dense(8),
        depth,
        final_time=5.0,
        opening=mg.Linear(2, 8, "tanh"),
        head=mg.Linear(8, CLASSES, "identity"),
        control=CONTROLS[control],
    )
    split = mg.load_problem("peaks", seed=seed).train
    stream = list(mg.batches(split, BATCH, epochs=20, seed=seed))[: max(CHECKED) + 1]
    if batch == "same":
        stream = stream[:1] * len(stream)
    params = [net.init(seed)]
    loss = mg.SoftmaxCrossEntropy()
    for record in mg.train(
        net, params[0], stream, optimiser=mg.adam(0.01), objective=loss
    ):
        step = record.step + 1
        params = [*params[-2:], record.params]
        if step in CHECKED:
            earlier = [solved(net, p, stream[step - 1]) for p in params[:-1]]
            now = stream[step].inputs, stream[step].targets
            yield step, Task(net, params[-1], *now, earlier[-1], earlier[0])


def solved(net: mg.Network, params: mg.Params, batch: mg.Batch) -> Last:
    """Exact states at the C-points."""
    states = mg.solve_forward(net, params, batch.inputs).states[::M]
    return Last(params, states, batch.inputs, batch.targets)


def measure(task: Task, guess: Guess) -> list[float]:
    """Relative residuals by the number of coarse solves made; nan before the first."""
    settings = {"coarsening": (M,), **guess.options}
    options = corrections(k=SOLVES - guess.cost, **settings)
    start = None
    if guess.points is not None:
        start = np.zeros((task.net.depth + 1, *task.first.shape))
        start[::M] = guess.points(task)
    done = mg.solve_forward(
        task.net, task.params, task.inputs, options=options, guess=start
    )
    scale = np.linalg.norm(done.states[::M])
    values = np.append(done.residuals, done.final_residual) / scale
    return [np.nan] * guess.cost + values.tolist()


def _coarse_solve(task: Task, defect: Callable[[int, Floats], Floats]) -> Floats:
    """March V_{j+1} = G(V_j) + defect(j, V_j)."""
    points = [task.first]
    for j, step in enumerate(coarse_steps(task.net, task.params, M)):
        points.append(step(points[-1]) + defect(j, points[-1]))
    return np.stack(points)


def _defects(task: Task) -> Floats:
    """What coarse steps missed in the step before; its states are exact."""
    return defects(task.net, task.last.params, task.last.states)


def _means(values: Floats, labels: Floats) -> Floats:
    """Mean over the samples of every class, (M + 1, CLASSES, w)."""
    return np.stack([values[:, labels == c].mean(axis=1) for c in range(CLASSES)], 1)
