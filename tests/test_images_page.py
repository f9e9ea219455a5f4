"""The code of docs/images.md runs, and says what its words say."""

import re

import numpy as np
from pages import blocks, run

import mgresnet as mg

PAGE = "docs/images.md"


def test_stages_are_solved_well_with_two_corrections():
    page = run(PAGE)
    stages, data = page.stages, page.data
    serial = mg.MGRITOptions.serial()
    way = {"objective": mg.SoftmaxCrossEntropy(), "forward": serial, "adjoint": serial}
    exact = mg.value_and_gradient(stages, stages.init(seed=7), *data.train, **way)[1]
    for found, needed in zip(page.gradient, exact, strict=True):
        error = np.linalg.norm(found.body - needed.body)
        assert error < 1e-3 * np.linalg.norm(needed.body)


def test_the_wide_network_is_a_script_of_twenty_lines():
    (code,) = blocks(PAGE, "python no-run")
    assert len(code.splitlines()) <= 21
    drawn = 'mg.load_problem("shapes", n_train=8, n_validation=4, dtype=np.float32)'
    code = re.sub(r"mg\.load_problem\(.*\)", drawn, code)
    code = code.replace("wide_resnet(16, 2)", "wide_resnet(10, 1, (3, 16, 16), 4)")
    code = code.replace("128, epochs=20", "4, epochs=2")
    names = {}
    exec(compile(code, "images.md", "exec"), names)
    assert names["record"].step == 3
