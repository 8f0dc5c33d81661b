"""What README tells a reader to type works."""
import re
from pathlib import Path

import pytest

import minigrad as mg
from minigrad.autograd import Function
from minigrad.tensor import as_tensor

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def code(containing):
    """The Python block with these words."""
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (block,) = (b for b in blocks if containing in b)
    return "\n".join(line.removeprefix("   ") for line in block.splitlines())


def test_the_library_example_learns_digits(capsys):
    exec(code("nn.Sequential"), {})
    assert float(re.search(r"tensor\((.*)\)", capsys.readouterr().out).group(1)) > 0.9


def test_the_example_operation_passes_its_gradient_check():
    names = {"Function": Function, "as_tensor": as_tensor}
    exec(code("class Square"), names)
    x = mg.tensor([1.5, -2.0], "float64", requires_grad=True)
    assert mg.gradcheck(names["square"], x) and mg.gradgradcheck(names["square"], x)
    del Function.registry["Square"]


FILES = sorted(set(re.findall(r"`((?:minigrad|kernels|models|tests)/[a-z0-9_/]+\.\w+)`", TEXT)))


@pytest.mark.parametrize("path", FILES)
def test_every_file_that_readme_names_exists(path):
    assert (README.parent / path).exists()


def test_the_architecture_part_lists_every_top_level_module():
    house = re.search(r"## Architecture\n\n```\n(.*?)```", TEXT, re.DOTALL).group(1)
    for path in (README.parent / "minigrad").glob("*.py"):
        assert path.name.startswith("__") or path.name in house, path.name
    for path in [*(README.parent / "kernels").iterdir(), *(README.parent / "minigrad").iterdir()]:
        if path.is_dir() and path.name != "__pycache__":
            assert f"{path.name}/" in house, path.name


@pytest.mark.simulated
def test_the_simulated_kernel_agrees_with_the_loops(capsys):
    exec(code("simulator.checking"), {})
    assert float(re.search(r"tensor\((.*)\)", capsys.readouterr().out).group(1)) < 1e-5
