"""House rules that a machine can check: shape of the code, and what may be imported."""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mgresnet as mg

ROOT = Path(mg.__file__).parent
TESTS = Path(__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 300, 40
LONG_FILES: dict[str, int] = {}
BASES = {"Protocol", "NamedTuple", "Enum"}
OTHER_BASES = {
    "kernels/vectors.py": {"Type"},  # Numba asks for it
    "learning/oracle.py": {"Oracle"},  # one interface has all of another
}
ABOUT_WORLD = {"__main__.py", "parallel/endings.py", "parallel/mpi.py"}

PUBLIC = """
    BSpline Batch BiasBudget BinaryCrossEntropy Chain Combined Conv2d Convolve Dense
    Evaluation EveryStep Explicit FirstOrder Free GRU GradientError Huber Info
    LeastSquares Linear MGRITOptions Machine Network Params Plan Pool PooledLinear
    Prediction
    ProcessGrid Record Regularisation SerialComm Shared SoftmaxCrossEntropy Solution
    Status Stepwise Term TimeComm TrainState Transform VirtualTimeComm Weighted
    Widen
    accurate adam adamw add_decayed_weights apply_updates augmented
    augmented_lagrangian batches bias_budget chain check_layer check_objective
    clip_by_global_norm constant cosine default_options estimate_gradient_error
    evaluate frame_features from_state_dict global_norm hybrid input_gradient
    inverse joined layer_parallel lbfgs load load_checkpoint load_problem local_slab
    nested_iteration noise one_shot over_data padded parameter_gradient penalty
    predict predict_convergence refine release_memory
    resnet save save_checkpoint scale_by_adam scale_by_learning_rate set_threads sgd
    solve_adjoint solve_forward space state_dict step_decay trace train
    value_and_gradient warm_up weights_only whole_params wide_resnet
"""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


each_file = pytest.mark.parametrize("path", FILES, ids=name_of)


def test_public_names_are_this_list():
    names = {
        name
        for name, value in vars(mg).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert names == set(PUBLIC.split())


@each_file
def test_files_fit_in_a_head(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONG_FILES.get(name_of(path), LONGEST_FILE)


@each_file
def test_functions_fit_on_a_screen(path):
    long = {}
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if length > LONGEST_FUNCTION:
                long[node.name] = length
    assert not long


def base_name(base):
    """Last name of a base class, without its parameters."""
    if isinstance(base, ast.Subscript):
        base = base.value
    return base.attr if isinstance(base, ast.Attribute) else base.id


@each_file
def test_nothing_is_inherited_but_interfaces_records_and_exceptions(path):
    bases = {
        base_name(base)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    others = {name for name in bases if not name.endswith(("Error", "Exception"))}
    assert others <= BASES | OTHER_BASES.get(name_of(path), set())


def mentions(path, name):
    """Whether code, not prose, uses a name or an attribute."""
    return any(
        getattr(node, field, None) == name
        for node in ast.walk(parse(path))
        for field in ("id", "attr")
    )


def test_the_world_is_taken_at_the_door():
    """A communicator is an argument; only the command line and MPI tests make one."""
    takers = {name_of(path) for path in FILES if mentions(path, "COMM_WORLD")}
    assert takers <= ABOUT_WORLD
    takers = {p.name for p in TESTS.glob("*.py") if mentions(p, "COMM_WORLD")}
    assert all("mpi" in name for name in takers)


@each_file
def test_nothing_loads_pickles(path):
    imported = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
    assert not imported & {"pickle", "dill", "cloudpickle", "shelve", "joblib"}


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, mgresnet; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "mgresnet" in loaded
    assert not loaded & {"mpi4py", "matplotlib", "pytest"}
    assert "scipy.interpolate" not in run.stdout.split()


def test_solving_without_ranks_loads_no_mpi():
    code = (
        "import sys, numpy as np, mgresnet as mg\n"
        "net = mg.Network(mg.Dense(3), 8)\n"
        "mg.solve_forward(net, net.init(), np.ones((2, 3)))\n"
        "assert 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
