"""Studies: they run, go on where they stopped, and count and average rightly."""

import json

import numpy as np
import pytest
from test_oracles import DATA, LOSS, NETS

import mgresnet as mg
from mgresnet.__main__ import main
from mgresnet.learning.ladder import Plan
from mgresnet.studies import noise
from mgresnet.studies.carrying_out import carry_out
from mgresnet.studies.catalogue import STUDIES
from mgresnet.studies.statistics import estimate, paired
from mgresnet.studies.study import Request, Study
from mgresnet.studies.work import on_grid, sweeps, work_units

WITHOUT_DATA = [name for name in STUDIES if name not in ("golden-peaks", "har")]


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_quick_studies_print_and_write_what_they_say(name, tmp_path, capsys):
    command = ["study", name, "--quick", "--ranks", "1,2", "--output", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    named = printed.splitlines()[-1].partition(": ")[2].split(", ")
    assert {file.name for file in tmp_path.iterdir()} == set(named)
    assert sum(file.endswith(".png") for file in named) >= 1
    assert "nan" not in printed
    table = (tmp_path / f"{name}.txt").read_text()
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert content["quick"] is True
    assert len(content["rows"]) >= 4
    assert main(command) == 0  # all is there: the same table
    assert (tmp_path / f"{name}.txt").read_text() == table


def counting(asked, broken_at=None):
    """A study that notes what it is asked to measure."""

    def cases(request):
        return [{"i": i} for i in request.repetitions(5)]

    def measure(case, request):
        if case["i"] == broken_at:
            raise KeyboardInterrupt
        asked.append(case["i"])
        return {"square": case["i"] ** 2}

    return Study("counts", cases, measure, lambda rows: [], lambda rows: {})


def test_a_study_goes_on_where_it_was_interrupted(tmp_path):
    asked, path = [], tmp_path / "counts.json"
    with pytest.raises(KeyboardInterrupt):
        carry_out(counting(asked, broken_at=3), Request(), path, list)
    assert asked == [0, 1, 2]
    rows = carry_out(counting(asked), Request(), path, list)
    assert asked == [0, 1, 2, 3, 4]
    assert [row.result["square"] for row in rows] == [0, 1, 4, 9, 16]
    more = carry_out(counting(asked), Request(seeds=7), path, list)
    assert asked == list(range(7))
    assert len(more) == 7


def test_results_of_another_kind_are_not_mixed_in(tmp_path):
    path = tmp_path / "counts.json"
    carry_out(counting([]), Request(), path, list)
    with pytest.raises(ValueError, match="is of a full run, this is a quick one"):
        carry_out(counting([]), Request(quick=True), path, list)
    with pytest.raises(ValueError, match=r"is of --ranks 1,4,16,32; choose these"):
        carry_out(counting([]), Request(ranks=(1, 64)), path, list)
    path.write_text("{")
    with pytest.raises(ValueError, match="is no result of mgresnet study"):
        carry_out(counting([]), Request(), path, list)


def test_a_stopped_command_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(STUDIES, "counts", counting([], broken_at=3))
    assert main(["study", "counts", "--output", str(tmp_path)]) == 130
    assert "the same command goes on" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "counts.json").read_text())["rows"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosie"], "unknown study 'nosie'; choose from golden-peaks"),
        (["noise", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["noise", "--seeds", "x"], "invalid int value: 'x'"),
        (["noise", "--ranks", "0,4"], "--ranks is (0, 4), needed numbers >= 1"),
        (["noise", "--data-dir", "/no/such"], "/no/such: there is no such folder"),
        (["noise", "--output", __file__], "is a file, needed a folder"),
        (["golden-peaks"], "give --data-dir FOLDER"),
        (["har"], "HAPT or UCI HAR, which are not shipped; give --data-dir FOLDER"),
        (["conv-mnist"], "reads mnist, which is not shipped; give --data-dir FOLDER"),
        (["hybrid"], "reads all of fashion-mnist, which is not shipped; give"),
        (["cifar", "--data-dir", "."], "'.' holds no data_batch"),
        (["gru-operators", "--data-dir", "."], "there is none of HAPT's files in"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(["study", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_no_study_goes_into_the_folder_of_a_training_run(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert main(["study", "noise", "--quick", "--output", str(tmp_path)]) == 2
    assert "holds a training run; choose another" in capsys.readouterr().err


# --- statistics ------------------------------------------------------------


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng, hits = np.random.default_rng(90217), 0
    for _ in range(2000):
        found = estimate(rng.normal(3.0, 2.0, 6), 0.9)
        hits += found.low <= 3.0 <= found.high
    assert hits / 2000 == pytest.approx(0.9, abs=0.02)


def test_pairs_take_out_what_seeds_have_in_common():
    rng = np.random.default_rng(90218)
    base = 100.0 * rng.standard_normal(20)
    after = base + 1.0 + 0.1 * rng.standard_normal(20)
    assert paired(after, base).differs
    assert not estimate([*(after - base), *(base - after)]).differs
    assert paired(base, base) == (0.0, 0.0, 0.0, 0.0, 20)


def test_a_single_value_says_nothing_of_the_mean():
    found = estimate([2.0])
    assert str(found) == "2"
    assert (found.mean, found.low, found.high) == (2.0, -np.inf, np.inf)
    assert not found.differs


# --- work ------------------------------------------------------------------


@pytest.mark.parametrize("corrections", [0, 1, 3])
def test_sweeps_are_the_layers_that_a_solve_passes(corrections):
    net = mg.Network(mg.Dense(5), 32, opening=mg.Linear(3, 5))
    options = mg.MGRITOptions(
        (4,), max_iterations=corrections, tolerance=0.0, coarse_operator="mean"
    )
    found = mg.solve_forward(net, net.init(1), DATA[0], options=options)
    fine = sum(n for (level, _), n in found.work.items() if level == 0)
    assert fine == (corrections + 1) * 32
    plan = Plan((4,), "mean", corrections)
    assert sweeps(plan) == corrections + 1 + corrections / 4


def test_exact_gradients_are_units_and_trials_halves():
    net = NETS["free"]
    how = {"objective": LOSS, "optimiser": mg.lbfgs()}
    records = list(mg.train(net, net.init(7), [DATA] * 5, **how))
    units = work_units(records, mg.MGRITOptions.serial(), net.depth)
    values = records[-1].state.optimiser.values
    assert values >= 5
    assert units[-1] == pytest.approx(5 + values / 2)
    half = work_units(records, mg.MGRITOptions.serial(), 2 * net.depth)
    assert half[-1] == pytest.approx(units[-1] / 2)


def test_a_grid_takes_the_last_value_that_is_known():
    assert on_grid([1.0, 2.0, 4.0], [9.0, 8.0, 7.0], [0.5, 2.0, 3.9, 9.0]) == [
        *(9.0, 8.0, 8.0, 7.0)
    ]


# --- noise -----------------------------------------------------------------


def test_the_named_conditions_are_all_measured():
    for quick in (True, False):
        names = noise.conditions(quick)
        assert len(set(names)) == len(names)
        for pair in noise.CONTRASTS.values():
            assert set(pair) <= set(names)


def test_every_condition_starts_on_the_plateau():
    net, params = noise.start(3, 32)
    data = mg.load_problem("peaks", n_train=200, seed=3).train
    exact = mg.layer_parallel(net, LOSS)
    assert exact.value(params, data, ()) == pytest.approx(np.log(5.0), abs=0.01)
    assert min(part.min() for part in params) >= 0.0
