"""The blocks of docs/saving.md; the one of torch where that is installed."""

import numpy as np
import pytest
from fakes import run_ranks
from pages import run

import mgresnet as mg

PAGE = "docs/saving.md"


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return run(PAGE, but=("import torch",))


def test_what_is_loaded_is_what_was_made(page):
    for found, needed in zip(page.params, page.net.init(seed=7), strict=True):
        np.testing.assert_array_equal(found, needed, strict=True)
    np.testing.assert_array_equal(page.own_params.body, page.own.init(seed=7).body)


@pytest.mark.parametrize("control", [mg.Free(), mg.BSpline(5)])
def test_several_ranks_save_what_one_has(page, control):
    net = mg.Network(page.layer, 10, 2.0, page.opening, page.head, control)
    params, options = net.init(seed=90402), mg.MGRITOptions((2,))

    def save(comm):
        own = mg.local_slab(net, params, options=options, comm=comm)
        page.save_once("ranks.npz", net, own, options, comm)

    run_ranks(save, 3)
    for found, needed in zip(mg.load("ranks.npz")[1], params, strict=True):
        np.testing.assert_array_equal(found, needed, strict=True)


def test_the_module_of_torch_has_these_names_and_outputs(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.chdir(tmp_path)
    page = run(PAGE)
    arrays = mg.state_dict(page.net, page.params)
    assert list(page.module.state_dict()) == list(arrays)
    x = np.random.default_rng(90401).standard_normal((7, 2))
    with torch.no_grad():
        needed = page.module(torch.from_numpy(x)).numpy()
    outputs = mg.predict(page.net, page.params, x)
    np.testing.assert_allclose(outputs, needed, rtol=0.0, atol=1e-14)
