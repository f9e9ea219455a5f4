"""The code of docs/images.md runs, and says what its words say."""

import re
from pathlib import Path

import numpy as np

import mgresnet as mg

PAGE = (Path(__file__).parents[1] / "docs" / "images.md").read_text()


def blocks(head):
    return re.findall(rf"^```{head}\n(.*?)^```", PAGE, re.M | re.S)


def test_stages_are_solved_well_with_two_corrections():
    names = {}
    (code,) = blocks("python")
    exec(compile(code, "images.md", "exec"), names)
    stages, data = names["stages"], names["data"]
    serial = mg.MGRITOptions.serial()
    way = {"objective": mg.SoftmaxCrossEntropy(), "forward": serial, "adjoint": serial}
    exact = mg.value_and_gradient(stages, stages.init(seed=7), *data.train, **way)[1]
    for found, needed in zip(names["gradient"], exact, strict=True):
        error = np.linalg.norm(found.body - needed.body)
        assert error < 1e-3 * np.linalg.norm(needed.body)


def test_the_wide_network_is_a_script_of_twenty_lines():
    (code,) = blocks("python no-run")
    assert len(code.splitlines()) <= 21
    drawn = 'mg.load_problem("shapes", n_train=8, n_validation=4, dtype=np.float32)'
    code = re.sub(r"mg\.load_problem\(.*\)", drawn, code)
    code = code.replace("wide_resnet(16, 2)", "wide_resnet(10, 1, (3, 16, 16), 4)")
    code = code.replace("128, epochs=20", "4, epochs=2")
    names = {}
    exec(compile(code, "images.md", "exec"), names)
    assert names["record"].step == 3
