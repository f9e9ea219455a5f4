"""What options of ``mgresnet train`` name, and what problems preset."""

from mgresnet.data import PROBLEMS
from mgresnet.layers import Linear, Widen
from mgresnet.learning import optimisers, schedules

OPTIMISERS = {
    "sgd": optimisers.sgd,
    "momentum": lambda rate: optimisers.sgd(rate, momentum=0.9),
    "nesterov": lambda rate: optimisers.sgd(rate, momentum=0.9, nesterov=True),
    "adam": optimisers.adam,
    "adamw": optimisers.adamw,
}
OPENINGS = {
    "linear": lambda n, width, activation: Linear(n, width, activation),
    "zeros": lambda n, width, activation: Widen(n, width, "zeros"),
    "copies": lambda n, width, activation: Widen(n, width, "copies"),
}
SCHEDULES = {
    "constant": lambda rate, n_steps: schedules.constant(rate),
    "step": lambda rate, n_steps: schedules.step_decay(rate, 0.5, max(1, n_steps // 4)),
    "cosine": schedules.cosine,
    "inverse": lambda rate, n_steps: schedules.inverse(rate, max(1, n_steps // 10)),
}
IMAGES = {
    "depth": 256,
    "width": 32,
    "final_time": 2.0,
    "epochs": 25,
    "learning_rate": 0.002,
}
CURVES = {
    "depth": 256,
    "width": 8,
    "final_time": 5.0,
    "epochs": 60,
    "learning_rate": 0.01,
}
OF_ROWS = {"activation": "tanh", "opening": "linear", "control": None, "smooth": None}
OF_SEQUENCES = {"cells": 1, "explicit": False}
SEQUENCES = {"width": 32, "epochs": 10, "learning_rate": 0.005}
PICTURES = ("shapes", "fashion-mnist", "mnist", "cifar-10", "cifar-100")
BATCH = 100  # samples of a step, if there are as many
PRESETS = {name: IMAGES if name in PICTURES else CURVES for name in PROBLEMS}
