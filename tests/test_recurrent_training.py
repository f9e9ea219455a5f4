"""Sequences by ``mgresnet train``, features of frames, and studies of fixed plans."""

import json

import numpy as np
import pytest
from test_activity import write_uci_har
from test_command_line import run
from test_moving_images import write

import mgresnet as mg
from mgresnet.__main__ import main
from mgresnet.data import load_own
from mgresnet.learning.frames import frame_network, with_frame_features
from mgresnet.studies import recurrent
from mgresnet.studies.study import Row

SMALL = ["--epochs", "1", "--width", "4", "--batch-size", "8", "--coarsening", "4"]
FIXED = ["--iterations", "1", "--adjoint-iterations", "1", "--tolerance", "0"]


def losses(folder):
    """Loss of every step of a run."""
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_activity_is_learned_by_gated_units(tmp_path, capsys):
    write_uci_har(tmp_path)
    given = ["uci-har", "--data-dir", str(tmp_path), *SMALL]
    out = tmp_path / "run"
    assert main(["train", *given, "--output", str(out), "--explicit"]) == 0
    assert "128 steps of GRU(n_inputs=9, n_hidden=4" in capsys.readouterr().out
    net, params = mg.load(out / "network.npz")
    assert net.layer == mg.GRU(9, 4, implicit=False)
    assert (net.depth, net.step, net.n_outputs) == (128, 1.0, 6)
    problem = mg.load_problem("uci-har", data_dir=tmp_path)
    loss = mg.SoftmaxCrossEntropy()
    found = mg.evaluate(net, params, *problem.validation, objective=loss)
    reported = json.loads((out / "epochs.json").read_text())[-1]["validation"]
    assert found._asdict() == reported


@pytest.mark.mpi
def test_images_that_move_are_the_same_run_on_three_ranks(tmp_path):
    some = ["--n-train", "16", "--n-validation", "6", *SMALL, *FIXED]
    found = []
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        result = run(
            "train", "moving-images", *some, "--output", str(folder), ranks=ranks
        )
        assert result.returncode == 0, result.stderr
        found.append(losses(folder))
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_sequences_of_different_lengths_keep_what_they_have_read(tmp_path, capsys):
    path, out = tmp_path / "own.npz", tmp_path / "run"
    write(path)
    assert main(["train", "--data", str(path), *SMALL, "--output", str(out)]) == 0
    net, params = mg.load(out / "network.npz")
    assert net.layer == mg.GRU(2, 4, masked=True)
    rng = np.random.default_rng(61801)
    short = rng.standard_normal((3, 2))
    outputs = mg.predict(net, params, mg.padded([short], 5))
    cut = mg.Network(net.layer, 3, 3.0, head=net.head, control=net.control)
    needed = mg.predict(cut, params, mg.padded([short]))
    np.testing.assert_allclose(outputs, needed, rtol=0, atol=1e-15)
    capsys.readouterr()
    assert main(["train", "--data", str(path), *SMALL, "--depth", "8"]) == 2
    assert "--depth 8, but the sequences of own have 5 steps" in capsys.readouterr().err
    assert main(["train", "--data", str(path), "--targets", "y"]) == 2
    assert "of sequences --data FILE.npz" in capsys.readouterr().err


def test_saved_runs_of_sequences_predict_and_go_on(tmp_path, capsys):
    path, out = tmp_path / "own.npz", tmp_path / "run"
    write(path)
    small = [*SMALL, "--checkpoint-every", "1"]
    given = ["train", "--data", str(path), *small, "--epochs", "3"]
    assert main([*given, "--output", str(out)]) == 0
    net, params = mg.load(out / "network.npz")
    lines = losses(out)
    problem = load_own(path)
    inputs, labels = map(
        np.concatenate, zip(problem.train, problem.validation, strict=True)
    )
    capsys.readouterr()
    how = ["--targets", str(path), "--output", str(tmp_path / "out.npz")]
    assert main(["predict", str(out), str(path), *how]) == 0
    found = mg.evaluate(net, params, inputs, labels, objective=mg.SoftmaxCrossEntropy())
    assert f"accuracy {found.score:.4f} on" in capsys.readouterr().out
    with np.load(tmp_path / "out.npz") as written:  # in the order of the file
        pair = written["outputs"], mg.predict(net, params, inputs)
        np.testing.assert_allclose(*(np.sort(x, axis=0) for x in pair), rtol=1e-12)
    assert main(["resume", str(out), "--step", "5"]) == 0
    assert losses(out) == lines


def test_features_are_those_of_single_frames():
    net = frame_network((1, 14, 14))
    params, rng = net.init(seed=61802), np.random.default_rng(61803)
    sequences = rng.random((3, 5, 196))
    found = mg.frame_features(net, params, sequences)
    assert found.shape == (3, 5, 32)
    for i, t in ((0, 0), (1, 4), (2, 2)):
        alone = mg.predict(net, params, sequences[i, t][None])
        np.testing.assert_allclose(found[i, t], alone[0], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match=r"frames has shape .* \(n, steps, pixels\)"):
        mg.frame_features(net, params, sequences[0])


def test_features_are_scaled_by_the_training_part():
    problem = mg.load_problem("moving-images", n_train=12, n_validation=6)
    found = with_frame_features(problem, seed=3)
    rows = found.train.inputs.reshape(-1, found.n_features)
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, rtol=0, atol=1e-12)
    spread = rows.std(axis=0)
    np.testing.assert_allclose(spread[spread > 0.1], 1.0, rtol=1e-12)
    np.testing.assert_array_equal(found.train.targets, problem.train.targets)


def problem(steps=32):
    """Sequences of noise around 1 or -1, which is the class."""
    rng, labels = np.random.default_rng(61804), np.arange(60) % 2
    inputs = rng.standard_normal((60, steps, 2)) + 2.0 * labels[:, None, None] - 1.0
    parts = (
        mg.data.Split(inputs[:40], labels[:40]),
        mg.data.Split(inputs[40:], labels[40:]),
    )
    return mg.data.Problem("signs", "classification", *parts, 2, "drawn")


CASE = {"hidden": 4, "cell": "implicit", "seed": 3, "steps": 6, "batch": 10}


@pytest.mark.parametrize("cell", recurrent.CELLS)
def test_plans_are_ordered_by_the_errors_of_their_gradients(cell):
    case = CASE | {"cell": cell}
    first = {
        plan: recurrent.measure(problem(), case | {"plan": plan})["gradient_error"][0]
        for plan in recurrent.PLANS
    }
    assert first["exact"] == 0.0
    assert first["e2 2 + 2"] < 0.3 * first["e2 1 + 1"]
    assert first["e2 1 + 1"] < 0.3 * first["injection 2 + 1"]


def test_as_many_corrections_as_intervals_are_exact():
    whole = recurrent.fixed((4,), "e2", 8, 8)
    net = recurrent.network(problem(), CASE)
    params, (inputs, targets) = net.init(1), problem().train
    error = recurrent.gradient_error(net, params, (inputs, targets), whole)
    assert error < 1e-12


def test_the_same_weights_are_judged_twice():
    exact, inexact = (
        recurrent.measure(problem(), CASE | {"plan": plan, "steps": 25})
        for plan in ("exact", "e2 1 + 1")
    )
    assert exact["serial"] == exact["parallel"]
    assert exact["loss"][-1] < 0.9 * exact["loss"][0]
    assert exact["serial"] > 0.6
    np.testing.assert_allclose(inexact["loss"], exact["loss"], rtol=0.02)


def test_the_study_of_activity_runs_on_files_of_its_format(tmp_path, capsys):
    write_uci_har(tmp_path)
    out = tmp_path / "out"
    given = ["--quick", "--data-dir", str(tmp_path), "--output", str(out)]
    assert main(["study", "har", *given, "--seeds", "1"]) == 0
    rows = json.loads((out / "har.json").read_text())["rows"]
    assert {row["case"]["task"] for row in rows} == {"uci-har"}
    assert len(rows) == len(recurrent.PLANS) * len(recurrent.CELLS)
    assert (out / "har-errors.png").is_file()


def test_errors_that_are_capped_are_shown_as_such():
    case = {"hidden": 16, "cell": "explicit", "plan": "coarse"}
    result = {"serial": 0.5, "parallel": 0.5, "gradient_error": [0.25, recurrent.WORST]}
    *_, line = recurrent.table([Row(case, result)])
    assert line.endswith("2.5e-01 to 1.0e+06 or more")
