"""The measurements behind the documentation: one question, one command.

python benchmarks                          list the questions
python benchmarks convergence              measure, save, print, draw
python benchmarks convergence --quick      a small version, kept in results/quick/
python benchmarks convergence --stored     print and draw what is there
"""

import ast
import importlib
import os
import sys
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # read when NumPy is imported

QUESTIONS = {
    "convergence": "convergence.studies",
    "coarse_operators": "convergence.coarse_operators",
    "kernels": "kernels.speed",
    "public_path": "kernels.public_path",
    "engine_overhead": "kernels.engine_overhead",
    "inference": "kernels.inference",
    "image_speed": "images.speed",
    "image_solvers": "images.solvers",
    "image_estimates": "images.estimates",
    "image_scaling": "images.scaling",
    "gru_speed": "sequences.speed",
    "sequence_scaling": "sequences.scaling",
    "peers": "kernels.mgrit_iteration",
    "memory": "memory.storage",
    "memory_ranks": "memory.ranks",
    "scaling": "scaling.study",
    "virtual_time": "scaling.virtual_time",
    "model_validation": "scaling.model_validation",
    "agreement": "scaling.agreement",
    "cold_starts": "scaling.cold_starts",
    "whole_runs": "training.whole_runs",
    "many_ranks": "training.many_ranks",
    "deep_levels": "training.deep_levels",
    "training_bias": "training.bias",
    "recurrent_estimates": "training.recurrent_estimates",
    "interruptions": "training.interruptions",
}


def first_line(module: str) -> str:
    """What a module says of itself."""
    path = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")
    documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return documentation.splitlines()[0]


def main() -> None:
    """Call the main function of a question with the options behind its name."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in QUESTIONS:
        question = importlib.import_module(QUESTIONS[name])
        sys.argv[:2] = [f"{sys.argv[0]} {name}"]
        question.main()
        return
    print(__doc__)
    for question, module in QUESTIONS.items():
        print(f"{question:20} {first_line(module)}")
    if name not in ("", "-h", "--help"):
        raise SystemExit(f"no question is called {name!r}; choose one of the list")


if __name__ == "__main__":
    main()
