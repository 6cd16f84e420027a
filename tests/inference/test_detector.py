import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import superpoint
from superpoint.backends import make_network
from superpoint.config import DecodeConfig
from superpoint.config.export import SUFFIXES
from superpoint.config.inference import NMS_RADIUS
from superpoint.errors import UserError
from superpoint.export import ExportConfig, write_model
from superpoint.inference import FeatureDetector, load_model
from superpoint.inference import detector as module
from superpoint.labelling import agreement
from superpoint.models import load_network
from superpoint.models.extract import features
from superpoint.models.weights import load_weights, save_weights
from tests.conftest import photograph, same_features
from tests.inference.conftest import DIM

HEAVY = ("superpoint.engine", "lightning_fabric", "matplotlib", "kornia", "tensorboard", "h5py")


def test_features_of_an_image(detector: FeatureDetector) -> None:
    image = photograph()
    found = detector.detect(image)
    assert found.keypoints.dtype == found.scores.dtype == np.float32
    assert found.image_size == (152, 120)
    assert found.descriptors is not None
    assert found.descriptors.shape == (len(found), DIM)
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-5)
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() > 0.015
    assert (found.keypoints >= 3).all()
    assert (found.keypoints <= np.array([152, 120]) - 4).all()
    assert (found.keypoints % 1 != 0).any()
    assert (detector.detect(image, subpixel=False).keypoints % 1 == 0).all()


def test_points_are_those_of_the_decoder(weights: Path, detector: FeatureDetector) -> None:
    image = photograph()
    (expected,) = features(load_network(weights), [image], DecodeConfig(NMS_RADIUS))
    found = detector.detect(image)
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_every_kind_of_image_gives_the_same(detector: FeatureDetector, tmp_path: Path) -> None:
    image = photograph()
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), image)
    expected = detector.detect(image)
    scaled = image.astype(np.float64) / 255
    rgb = np.repeat(image[:, :, None], 3, axis=2)
    kinds: list[str | Path | NDArray[np.generic] | torch.Tensor] = [
        *(file, str(file), image[:, :, None], rgb, scaled, scaled.astype(np.float32), rgb / 255),
        np.asfortranarray(image),
        *(torch.from_numpy(image), torch.from_numpy(image)[None], torch.from_numpy(rgb).permute(2, 0, 1)),
        *(torch.from_numpy(scaled), torch.from_numpy(scaled)[None].to(torch.float32)),
    ]
    for kind in kinds:
        same_features(detector.detect(kind), expected)


def test_colours_become_their_luma(detector: FeatureDetector) -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[16:48, 16:48, 0] = 255
    gray = np.where(red[:, :, 0] > 0, 76, 0).astype(np.uint8)  # .299 * 255
    np.testing.assert_allclose(detector.detect(red).keypoints, detector.detect(gray).keypoints, atol=1e-3)


def test_16_bits_are_stretched_as_in_files(detector: FeatureDetector, tmp_path: Path) -> None:
    thermal = (20_000 + photograph().astype(np.uint16) * 4).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "thermal.png"), thermal)
    same_features(detector.detect(thermal), detector.detect(tmp_path / "thermal.png"))


def test_several_images_are_each_alone(detector: FeatureDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_PIXELS", 2 * 120 * 152)
    names = ("astronaut", "coffee", "chelsea")
    images = [photograph(name) for name in names] + [photograph("camera", 65, 99), photograph("coins", 120, 152)]
    found = detector.detect(images)
    assert isinstance(found, list)
    assert [each.image_size for each in found] == [(152, 120)] * 3 + [(99, 65), (152, 120)]
    for image, each in zip(images, found, strict=True):
        same_features(each, detector.detect(image))
    stacked = detector.detect(np.stack(images[:3])[..., None])
    assert isinstance(stacked, list)
    same_features(stacked[1], found[1])
    tensors = detector.detect(torch.from_numpy(np.stack(images[:3]))[:, None])
    assert isinstance(tensors, list)
    same_features(tensors[2], found[2])
    assert detector.detect([]) == []


def test_points_are_in_pixels_of_the_original(detector: FeatureDetector) -> None:
    image = photograph()
    double = image.repeat(2, axis=0).repeat(2, axis=1)
    small, large = detector.detect(image), detector.detect(double, resize=152)
    assert (small.uncertainty, large.uncertainty) == (1.0, 2.0)
    assert large.image_size == (304, 240)
    np.testing.assert_allclose(large.keypoints, (small.keypoints + 0.5) * 2 - 0.5, atol=1e-2)
    same_features(detector.detect(image, resize=4000), small)  # never enlarged
    same_features(detector.detect(image, resize=0), small)


def test_options(detector: FeatureDetector) -> None:
    image = photograph()
    every = detector.detect(image)
    strongest = detector.detect(image, max_keypoints=10)
    np.testing.assert_allclose(strongest.keypoints, every.keypoints[:10])
    assert len(detector.detect(image, max_keypoints=0)) == len(every)
    assert len(detector.detect(image, threshold=0.1)) == int((every.scores > 0.1).sum())
    assert len(detector.detect(image, nms_radius=12)) < len(every)
    assert len(detector.detect(image, threshold=1.0)) == 0
    far = detector.detect(image, border=30)
    assert len(far) == 0 or (far.keypoints.min() >= 29)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 9), (8, 8), (9, 1000)])
def test_odd_sizes(detector: FeatureDetector, size: tuple[int, int]) -> None:
    found = detector.detect(np.full(size, 128, np.uint8), border=0)
    assert found.image_size == size[::-1]
    assert (found.keypoints >= -1).all()
    assert (found.keypoints <= np.array(size[::-1])).all()


# The exporter to ONNX takes seconds.
@pytest.mark.parametrize("backend", ["openvino", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_backends_agree(weights: Path, detector: FeatureDetector, backend: str) -> None:
    pytest.importorskip(backend)
    model = load_model(weights, "cpu", backend, "fp32")
    assert model.backend == backend
    a, b = model.detect(photograph()), detector.detect(photograph())
    assert agreement(a.keypoints, b.keypoints, 0.5) >= 0.995
    assert a.descriptors is not None
    assert b.descriptors is not None
    similar = (a.descriptors @ b.descriptors.T).max(axis=1)
    assert np.median(similar) > 0.9999


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bf16_agrees_nearly(weights: Path, detector: FeatureDetector, backend: str) -> None:
    pytest.importorskip(backend)
    model = load_model(weights, "cpu", backend, "bf16")
    images = [photograph(name) for name in ("astronaut", "coffee", "camera", "coins")]
    for image in images:
        # Points near the threshold come and go: those well above it must have a partner.
        strong, every = detector.detect(image, threshold=0.03), model.detect(image, threshold=0.01)
        distances = np.linalg.norm(strong.keypoints[:, None] - every.keypoints[None], axis=2).min(axis=1)
        assert (distances <= 1).mean() >= 0.97


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript file."""
    path = tmp_path_factory.mktemp("exported") / "model.pt"
    return write_model(load_network(weights), path, ExportConfig("torchscript"))


def test_exported_torchscript(exported: Path, detector: FeatureDetector) -> None:
    model = load_model(exported)
    assert (model.backend, model.precision, model.device) == ("torch", "fp32", torch.device("cpu"))
    assert (model.name, model.descriptor_dim) == (str(exported), DIM)
    for image in (photograph(), photograph("coins", 67, 90)):
        same_features(model.detect(image), detector.detect(image))
    assert load_model(str(exported), "cpu", "torch", "fp32").descriptor_dim == DIM


# The exporter to ONNX takes seconds.
@pytest.mark.parametrize("form", ["openvino", pytest.param("onnx", marks=pytest.mark.slow)])
def test_exported_for_other_runtimes(form: str, weights: Path, tmp_path: Path, detector: FeatureDetector) -> None:
    backend = {"onnx": "onnxruntime", "openvino": "openvino"}[form]
    for package in (backend, *(("onnx", "onnxscript") if form == "onnx" else ())):
        pytest.importorskip(package)
    path = write_model(load_network(weights), tmp_path / f"model{SUFFIXES[form]}", ExportConfig(form))
    model = load_model(path, precision="fp32")
    assert (model.backend, model.precision, model.descriptor_dim) == (backend, "fp32", DIM)
    assert agreement(model.detect(photograph()).keypoints, detector.detect(photograph()).keypoints, 0.5) >= 0.995
    with pytest.raises(UserError, match=rf"backend: found 'torch', expected '{backend}' or 'auto'.*model\."):
        load_model(path, backend="torch")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "onnxruntime"}, "backend: found 'onnxruntime', expected 'torch' or 'auto'"),
        ({"device": "cuda"}, "device: found 'cuda', expected 'cpu' or 'auto'"),
        ({"device": "mps"}, "device: found 'mps', expected 'cpu' or 'auto'"),
        ({"precision": "bf16"}, "precision: found 'bf16', but .pt files compute in fp32"),
        ({"backend": "tensorrt"}, "backend: found 'tensorrt'"),
    ],
)
def test_exported_file_contradicted(exported: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_model(exported, **options)
    assert "\n" not in str(caught.value)


def test_exported_with_its_decoder_is_refused(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = module.open_exported(exported)
    full.metadata["outputs"] = ["keypoints", "scores", "descriptors"]
    monkeypatch.setattr(module, "open_exported", lambda *_: full)
    with pytest.raises(UserError, match="found the outputs keypoints, scores, descriptors, expected a dense"):
        load_model(exported)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("superpoint-huge", r"superpoint-huge: no such file.*magicpoint, magicpoint-compact, magicpoint-lite"),
        (None, "name_or_path: found None"),
    ],
)
def test_models_that_are_not_there(source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load_model(source)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_tiles_and_cells(backend: str, weights: Path) -> None:
    """`models.extract` is tested for what tiles give; here, that they get there, from a runtime that reuses memory."""
    pytest.importorskip(backend)
    model = load_model(weights, "cpu", backend, "fp32")
    image = photograph("coffee", 300, 420)
    same_features(model.detect(image, tile=0, max_keypoints=300), model.detect(image, tile=256, max_keypoints=300))
    cells = model.detect(image, tile=256, grid=(4, 3), per_cell=2)
    counts = np.histogram2d(*(cells.keypoints.T + 0.5), bins=(4, 3), range=[[0, 420], [0, 300]])[0]
    assert counts.max() == 2
    assert (counts > 0).sum() > 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold: found 1.5"),
        ({"max_keypoints": 1.5}, "max_keypoints: found 1.5, expected a whole number"),
        ({"max_keypoints": 10**400}, "max_keypoints: found 1"),
        ({"nms_radius": -1}, "nms_radius"),
        ({"border": -3}, "border"),
        ({"resize": -8}, "resize"),
        ({"tile": 100}, "tile: found '100', expected auto, 0 or at least 256 pixels"),
        ({"tile": "all"}, "tile: found 'all'"),
        ({"grid": (8,), "per_cell": 1}, r"grid: found \[8\], expected columns and rows"),
        ({"grid": (0, 8), "per_cell": 1}, "grid: found"),
        ({"grid": (8, 8)}, "per_cell: found 0, expected 1 or more beside grid"),
        ({"per_cell": 3}, "per_cell: found 3, expected grid beside it"),
    ],
)
def test_options_out_of_range(detector: FeatureDetector, options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        detector.detect(photograph(), **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_broken_weights_are_named(backend: str, value: float, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    model = load_network("magicpoint-lite")
    with torch.no_grad():
        model.get_parameter("detector.logits.bias")[5] = value
    with pytest.raises(UserError, match="the weights are broken"):
        FeatureDetector(make_network(model, backend, "fp32", "cpu"), 0).detect(photograph())
    save_weights(tmp_path / "broken.safetensors", model, load_weights("magicpoint-lite")[1])
    with pytest.raises(UserError, match=r"broken\.safetensors: .*the weights are broken"):
        load_model(tmp_path / "broken.safetensors", backend=backend)


def test_import_and_loading_are_light(tmp_path: Path) -> None:
    code = (
        "import sys, superpoint; first = 'torch' in sys.modules;"
        "superpoint.load_model('magicpoint-lite', device='cpu'); print(first, *sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    first, *modules = output.split()
    assert first == "False"
    assert set(HEAVY).isdisjoint(modules)
    # torch imports it to check a trace: a third of the time of loading
    assert "torch.distributed.tensor" not in modules


def test_public_names() -> None:
    for name in superpoint.__all__:
        assert getattr(superpoint, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        superpoint.load_modle  # type: ignore[attr-defined]  # noqa: B018
