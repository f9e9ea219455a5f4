"""All studies by name."""

from mgresnet.studies import (
    biased_sgd,
    convergence,
    descent,
    golden_peaks,
    gru_operators,
    har,
    hybrid,
    images,
    long_sequences,
    nested_iteration,
    noise,
    one_shot,
    regression,
    video,
)

STUDIES = {
    "golden-peaks": golden_peaks.STUDY,
    "convergence": convergence.STUDY,
    "one-shot": one_shot.STUDY,
    "nested-iteration": nested_iteration.STUDY,
    "regression": regression.STUDY,
    "noise": noise.STUDY,
    "biased-sgd": biased_sgd.STUDY,
    "fashion-sgd": descent.FASHION,
    "mnist-sgd": descent.MNIST,
    "indian-pines": descent.PINES,
    "conv-mnist": images.CONV_MNIST,
    "cifar": images.CIFAR,
    "hybrid": hybrid.STUDY,
    "har": har.STUDY,
    "video": video.STUDY,
    "gru-operators": gru_operators.STUDY,
    "long-sequences": long_sequences.STUDY,
}
