"""The notebooks are stored without outputs, and run from top to bottom with the smallest settings."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import TINY_DATA, under

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
MORE = [
    *under("training", TINY_DATA), "labelling.resize=64", "labelling.adaptation.homographies=2",
    "training.train.steps=2", "training.train.batch_size=2", "training.train.report=false",
    "training.validation.images=2", "training.validation.final_images=9", "training.validation.pairs=2",
    "training.validation.final_pairs=2", "training.validation.height=64", "training.validation.width=80",
]  # fmt: skip
SCENES = [*TINY_DATA, "validation.images=18", "validation.final_images=9"]
# In place of the cell tagged `settings`.
SETTINGS = {
    "finetune": f"images, minutes, more = 'photos', 'null', '{' '.join(MORE)}'",
    "magicpoint": f"minutes, steps, more = 0.1, 40, '{' '.join(SCENES)}'",
}
PRINTED = {
    "match": ["Matches by", "agree with a homography", "mean error of the corners"],
    "magicpoint": ["FAIL", "gradient_jump"],
    "finetune": ["before", "keypoints in photos"],
}


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["finetune", "magicpoint", "match"]


@each_notebook
def test_stored_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) >= 8
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
@each_notebook
@pytest.mark.filterwarnings("default")  # of the kernel's client, not of ours
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read(path)
    for cell in notebook.cells:
        if "settings" in cell.metadata.get("tags", []) and cell.cell_type == "code":
            cell.source = SETTINGS[path.stem]
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(output.get("text", "") or str(output.get("data", {})) for output in outputs)
    assert len(pictures) >= 4
    assert not [words for words in PRINTED[path.stem] if words not in text]
