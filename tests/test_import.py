"""`import linfair` is quick and light, its lazy names are all there, and what it needs is declared."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import linfair
from linfair import cli

HEAVY = ("torch", "cvxpy", "matplotlib", "scipy", "sklearn", "numpy")
PROBE = f"""
import json, sys, time
start = time.perf_counter()
import linfair
print(json.dumps([time.perf_counter() - start, [m for m in {HEAVY!r} if m in sys.modules]]))
"""


def probe() -> tuple[float, list[str]]:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_is_fast_and_light():
    tries = [probe() for _ in range(3)]
    assert min(seconds for seconds, _ in tries) < 0.5
    assert tries[0][1] == []


def test_theory_column_works_without_torch_and_cvxpy_until_needed():
    code = "import sys, linfair.linear, linfair.gaussian; sys.exit('torch' in sys.modules or 'cvxpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", linfair.__all__)
def test_public_names_resolve(name):
    assert getattr(linfair, name) is getattr(linfair, name)
    assert name in dir(linfair)


def test_modules_resolve_and_unknown_names_do_not():
    assert linfair.runs.SCHEMA == 1
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        linfair.nothing  # noqa: B018


def test_version_is_the_installed_one():
    assert linfair.runs.version("linfair") == linfair.__version__


def test_cli_dispatches(capsys):
    assert cli.main(["info"]) == 0
    assert cli.main(["--help"]) == 0
    assert cli.main(["--version"]) == 0
    assert f"linfair {linfair.__version__}\n" in capsys.readouterr().out


def test_cli_refuses_an_unknown_command_in_one_line(capsys):
    assert cli.main(["verfy"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "verify" in message
    assert "'verfy'" in message


@pytest.mark.parametrize("words", ["--help", "--version", "evaluate --help", "evaluate --list"])
def test_a_reader_that_has_seen_enough_is_no_error(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "linfair.cli", *words.split()]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in (0, 1)  # argparse does not tell that nobody reads its help


def test_every_import_is_a_declared_dependency():
    root = Path(__file__).resolve().parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    declared = {re.split(r"[^\w-]", name)[0] for name in project["dependencies"] + extras}
    modules = {"scikit-learn": "sklearn", "pillow": "PIL"}
    declared = {modules.get(name, name.replace("-", "_")) for name in declared}
    for folder in ("linfair", "experiments", "benchmarks"):
        own = {path.stem for path in (root / folder).rglob("*.py")} | {"linfair"}
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    modules = [node.module or ""]
                used = {module.split(".")[0] for module in modules}
                assert used <= declared | own | sys.stdlib_module_names, path.name
