"""New samples are scaled as those that a run has learned from, and outputs back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mgresnet.__main__ import main
from mgresnet.data.scaling import Scale

SHORT = ["--epochs", "40", "--evaluate-every", "0", "--batch-size", "16"]
SMALL = ["--width", "6", "--learning-rate", "0.03", "--coarsening", ""]
numbers = st.integers(-(10**6), 10**6).map(lambda k: k / 1000)  # squares are normal


@given(arrays(float, (7, 3), elements=numbers))
def test_undoing_is_the_inverse(values):
    values[:, 1] = values[0, 1]
    scale = Scale.of(values)
    scaled = scale.apply(values)
    back = scale.undo(scaled)
    np.testing.assert_allclose(
        back, values, rtol=1e-9, atol=1e-9 * np.abs(values).max()
    )
    assert not scaled[:, 1].any()
    assert Scale.read(scale.as_lists()).apply(values).tobytes() == scaled.tobytes()


def test_a_column_that_did_not_vary_is_nothing_new_either():
    scale = Scale.of(np.array([[1.0, 5.0], [2.0, 5.0]]))
    assert scale.apply(np.array([[1.5, 9.0]]))[0, 1] == 0.0


def outputs_of(run, inputs, folder, *more):
    """Outputs of a run for a file of inputs."""
    path = folder / "outputs.npz"
    path.unlink(missing_ok=True)
    command = ["predict", str(run), str(inputs), "--output", str(path), *more]
    assert main(command) == 0
    with np.load(path) as found:
        return found["outputs"]


def test_tables_come_back_in_the_units_of_the_file(tmp_path):
    rng = np.random.default_rng(2701)
    x = 100.0 + 5.0 * rng.standard_normal((80, 2))
    y = 7000.0 + 40.0 * (x[:, 0] - 100.0)
    table, inputs, run = (tmp_path / name for name in ("t.csv", "x.csv", "run"))
    rows = np.column_stack([x, y])
    np.savetxt(table, rows, delimiter=",", header="a,b,price", comments="")
    np.savetxt(inputs, x, delimiter=",", header="a,b", comments="")
    data = ["--data", str(table), "--targets", "price", "--depth", "8"]
    assert main(["train", *data, *SHORT, *SMALL, "--output", str(run)]) == 0
    found = outputs_of(run, inputs, tmp_path)[:, 0]
    assert np.abs(found - y).mean() < 0.2 * np.abs(y - y.mean()).mean()


@pytest.mark.parametrize("masked", [False, True])
def test_sequences_are_read_as_in_training(masked, tmp_path, capsys):
    rng = np.random.default_rng(2702)
    lengths = rng.integers(6, 13, 60) if masked else np.full(60, 12)
    x = 1000.0 + 50.0 * rng.standard_normal((60, 12, 3))
    last = x[np.arange(60), lengths - 1, 0]
    arrays = {"inputs": x, "targets": 5000.0 + 2.0 * (last - 1000.0)}
    arrays |= {"lengths": lengths} if masked else {}
    data, run = tmp_path / "data.npz", tmp_path / "run"
    np.savez(data, **arrays)
    command = ["train", "--data", str(data), *SHORT, *SMALL, "--output", str(run)]
    assert main(command) == 0
    found = outputs_of(run, data, tmp_path, "--targets", str(data))[:, 0]
    error = np.abs(found - arrays["targets"]).mean()
    assert error < 0.5 * np.abs(last - last.mean()).mean() * 2.0
    assert "R2 0." in capsys.readouterr().out
    if masked:
        short = tmp_path / "short.npz"
        few = lengths <= 8
        np.savez(short, inputs=x[few, :8], lengths=lengths[few])
        again = outputs_of(run, short, tmp_path)[:, 0]
        np.testing.assert_array_equal(again, found[few])


def test_other_features_are_refused_by_name(tmp_path, capsys):
    rng = np.random.default_rng(2703)
    table, run = tmp_path / "t.csv", tmp_path / "run"
    np.savetxt(table, rng.standard_normal((40, 3)), delimiter=",")
    data = ["--data", str(table), "--targets", "2", "--depth", "8", "--epochs", "1"]
    assert main(["train", *data, "--output", str(run)]) == 0
    out = str(tmp_path / "o.csv")
    assert main(["predict", str(run), str(table), "--output", out]) == 2
    assert "needed 2 as in training" in capsys.readouterr().err
