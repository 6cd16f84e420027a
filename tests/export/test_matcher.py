"""A matcher as others read it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.feature import LightGlue

from superpoint.models.lightglue import build_matcher
from superpoint.models.weights import save_weights
from tests.conftest import CommandLine


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A matcher that is sure of itself, though it has learnt nothing."""
    matcher = build_matcher(8, 16, 2, 2, seed=1)
    torch.nn.init.eye_(matcher.log_assignment[1].final_proj.weight).data.mul_(30)  # type: ignore[union-attr, operator]
    settings = {"input_dim": 8, "channels": 16, "layers": 2, "heads": 2, "network": "abc"}
    save_weights(tmp_path / "matcher.safetensors", matcher, settings)
    return tmp_path / "matcher.safetensors"


def test_both_files_compute_what_it_does(weights: Path, tmp_path: Path, cli: CommandLine) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    for name in ("matcher.pth", "matcher.onnx"):
        cli.succeeds("export-model", "--model", weights, "--format", "lightglue", "--out", tmp_path / name)
    theirs = LightGlue(
        None, input_dim=8, descriptor_dim=16, n_layers=2, num_heads=2, flash=False,  # type: ignore[arg-type]
        depth_confidence=-1, width_confidence=-1,
    ).eval()  # fmt: skip
    theirs.load_state_dict(torch.load(tmp_path / "matcher.pth", weights_only=True))
    rng = np.random.default_rng(0)
    points = [rng.uniform(0, 60, (1, count, 2)).astype(np.float32) for count in (12, 9)]
    first = rng.normal(0, 1, (1, 12, 8)).astype(np.float32)
    descriptors, size = [first, first[:, 2:11].copy()], np.array([[64, 62]], np.float32)
    session = runtime.InferenceSession(tmp_path / "matcher.onnx")
    values = [each for pair in zip(points, descriptors, strict=True) for each in (*pair, size)]
    found, scores = session.run(None, dict(zip([each.name for each in session.get_inputs()], values, strict=True)))
    with torch.no_grad():
        expected = theirs({
            f"image{i}": {
                "keypoints": torch.tensor(points[i]), "descriptors": torch.tensor(descriptors[i]),
                "image_size": torch.tensor(size),
            }
            for i in (0, 1)
        })  # fmt: skip
    assert (found >= 0).sum() > 2
    np.testing.assert_array_equal(found, expected["matches0"].numpy())
    np.testing.assert_allclose(scores, expected["matching_scores0"].numpy(), atol=1e-4)


def test_mistakes(weights: Path, tmp_path: Path, cli: CommandLine) -> None:
    command = ["export-model", "--format", "lightglue", "--model"]
    assert "expected .pth or .onnx" in cli.fails(*command, weights, "--out", tmp_path / "matcher.xml")
    assert "found no weights of LightGlue" in cli.fails(*command, "superpoint-lite", "--out", tmp_path / "a.pth")
    assert "expected none beside a matcher" in cli.fails(*command, weights, "--half", "--out", tmp_path / "a.pth")
