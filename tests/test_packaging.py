"""The built wheel: installed on its own, used from a directory with a ``blocks`` folder of its own."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; its dependencies are read from this environment."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    purelib = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(purelib.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_ships_both_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"convbench", "convblocks"}
    assert "convblocks/mrfa.py" in names
    assert "convbench/py.typed" in names


def test_a_profile_from_a_directory_with_a_blocks_folder(python: Path, tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "reports").mkdir()
    command = ["-m", "convbench", "profile", "MRFA", "--dim", "64", "--device", "meta", "-o", "mrfa.csv"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    row = next(csv.DictReader((tmp_path / "mrfa.csv").open()))
    assert (row["params"], row["macs"], row["input_shape"]) == ("23216", "70296576", "1x64x56x56")
    where = "import convbench, convblocks; print(convbench.__file__, convblocks.__file__)"
    files = subprocess.check_output([str(python), "-c", where], cwd=tmp_path, env=environment, text=True).split()
    assert all(file.startswith(str(python.parent.parent)) for file in files)
