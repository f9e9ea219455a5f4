"""Ten steps on record of LayerParallelLearning, and their random numbers."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from mgresnet.studies import golden_peaks
from mgresnet.studies.study import Request

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "peaks"
needs_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"needs the Peaks files in {FOLDER}"
)


@pytest.fixture(scope="module")
def steps():
    request = Request(data_dir=FOLDER)
    return {
        case["propagation"]: golden_peaks.measure(case, request)["steps"]
        for case in golden_peaks.cases(request)
    }


@needs_data
@pytest.mark.parametrize("way", ["serial", "mgrit"])
def test_objectives_and_gradients_are_those_on_record(steps, way):
    golden = golden_peaks.GOLDEN[way]
    assert len(steps[way]) == len(golden) == 10
    compared = 0
    for ours, theirs in zip(steps[way], golden, strict=True):
        for found, wanted in zip(ours[:2], theirs, strict=True):
            if wanted is not None:
                assert found == pytest.approx(wanted, rel=1e-9)
                compared += 1
    assert compared == {"serial": 20, "mgrit": 3}[way]


@needs_data
def test_residuals_of_the_adjoints_are_those_on_record(steps):
    found = [residual for _, _, residual in steps["mgrit"]]
    np.testing.assert_allclose(found[1:], golden_peaks.RESIDUALS, rtol=1e-6)


def test_random_numbers_are_those_of_the_c_library():
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        pytest.skip("there is no glibc")
    libc.srand(1)
    drawn = np.array([libc.rand() for _ in range(500)]) / (2**31 - 1)
    np.testing.assert_array_equal(golden_peaks.c_random(500), drawn)


def test_without_data_it_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match="give --data-dir FOLDER"):
        golden_peaks.read_rows(None)
    with pytest.raises(FileNotFoundError, match=r"no .*features_training\.dat, nor"):
        golden_peaks.read_rows(tmp_path)
