"""`allocator` is pure: the import rule of `make check` holds, sees a breach, and nothing gets around it by way of a builtin."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "allocator").rglob("*.py"))
# What reads the outside world without an import statement.
IMPURE_BUILTINS = {"open", "input", "print", "__import__", "breakpoint", "exec", "eval"}


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports_command as main; main(['--no-cache'])"
    return subprocess.run([sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, check=False)


@pytest.fixture
def copy_of_the_code(tmp_path: Path) -> Path:
    for package in ("allocator", "streams"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rule_holds(copy_of_the_code: Path) -> None:
    answer = lint_imports(copy_of_the_code)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    "breach",
    [
        "import time",
        "import asyncio",
        "from pathlib import Path",
        "from streams.topics import Topics",
        "import faust",
        "import aiokafka.errors",
    ],
)
def test_a_breach_is_seen(copy_of_the_code: Path, breach: str) -> None:
    (copy_of_the_code / "allocator" / "planted.py").write_text(f'"""A breach."""\n\n{breach}\n')
    answer = lint_imports(copy_of_the_code)
    assert answer.returncode == 1
    assert f"allocator.planted -> {breach.split()[1].partition('.')[0]}" in answer.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_builtin_reaches_outside(module: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Name)}
    assert not names & IMPURE_BUILTINS
