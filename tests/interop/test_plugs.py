"""Our modules inside other programs: in the program where it is installed, else in its contract."""

import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import superpoint
from superpoint.errors import UserError
from superpoint.interop import hloc_models

NAME = "superpoint_trained"
MODEL = "superpoint-lite"


class HlocModel(nn.Module):
    """The contract of `hloc.utils.base_model.BaseModel`."""

    default_conf: dict[str, Any] = {}  # noqa: RUF012
    required_inputs: list[str] = []  # noqa: RUF012

    def __init__(self, conf: dict[str, Any]) -> None:
        super().__init__()
        self.conf = {**self.default_conf, **conf}
        self._init(self.conf)  # type: ignore[operator]

    def forward(self, data: dict[str, Any]) -> Any:
        assert all(key in data for key in self.required_inputs)
        return self._forward(data)  # type: ignore[operator]


class VismatchMatcher(nn.Module):
    def __init__(self, device: str = "cpu", **_: Any) -> None:
        super().__init__()
        self.device = device


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> Any:
    made = types.ModuleType(name)
    made.__dict__.update(content, __path__=[])
    monkeypatch.setitem(sys.modules, name, made)
    return made


@pytest.fixture(params=["hloc", "imcui.hloc"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return `dynamic_load` of a program, by the kind of module."""
    package = request.param
    for kind in ("extractors", "matchers"):
        monkeypatch.setitem(sys.modules, f"{package}.{kind}.{NAME}", None)  # forgotten after the test
    try:
        importlib.import_module(f"{package}.utils.base_model")
    except ImportError:
        for name in ("imcui", package, f"{package}.utils", f"{package}.extractors", f"{package}.matchers"):
            module(monkeypatch, name)
        module(monkeypatch, f"{package}.utils.base_model", BaseModel=HlocModel)
    base = sys.modules[f"{package}.utils.base_model"].BaseModel
    hloc_models.register(package)

    def find(kind: str) -> Any:
        path = f"{package}.{kind}.{NAME}"
        found = inspect.getmembers(__import__(path, fromlist=[""]), inspect.isclass)
        (one,) = [each for _, each in found if each.__module__ == path and issubclass(each, base)]
        return one

    return find


def shapes() -> np.ndarray:
    image = np.full((72, 96), 40, np.uint8)
    image[20:50, 30:70], image[35:60, 10:25] = 200, 120
    return image


class TestHloc:
    def test_extractor_and_matcher(self, load: Callable[[str], Any]) -> None:
        image = torch.from_numpy(shapes())[None, None].float() / 255
        extractor = load("extractors")({"name": NAME, "weights": MODEL, "max_keypoints": 20}).eval()
        with torch.no_grad():
            found = {name: values[0] for name, values in extractor({"image": image}).items()}
        expected = superpoint.load_model(MODEL).detect(shapes(), max_keypoints=20)
        assert extractor.detection_noise == expected.uncertainty == 1.0
        assert len(expected) > 5
        assert np.allclose(found["keypoints"], expected.keypoints, atol=1e-4)
        assert np.allclose(found["scores"], expected.scores)
        assert expected.descriptors is not None
        assert np.allclose(found["descriptors"].T, expected.descriptors)

        turned = {"descriptors0": found["descriptors"][None], "descriptors1": found["descriptors"].flip(1)[None]}
        output = load("matchers")({"name": NAME})(turned)
        assert output["matches0"].tolist() == [list(range(len(expected)))[::-1]]
        assert output["matching_scores0"].min() > 0.99
        nothing = {"descriptors0": torch.zeros(1, 64, 3), "descriptors1": torch.zeros(1, 64, 0)}
        assert load("matchers")({"method": "ratio"})(nothing)["matches0"].tolist() == [[-1, -1, -1]]

    def test_mistakes(self, load: Callable[[str], Any]) -> None:
        with pytest.raises(UserError, match="nohloc: cannot be imported"):
            hloc_models.register("nohloc")
        with pytest.raises(UserError, match="weights=magicpoint-lite: found no descriptors"):
            load("extractors")({"weights": "magicpoint-lite"})({"image": torch.zeros(1, 1, 16, 16)})


def plug(project: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, project / "docs" / "plugs" / f"{name}.py")
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(made)
    return made.SuperPointTrained


def test_glue_factory(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    for name in ("gluefactory", "gluefactory.models"):
        module(monkeypatch, name)
    module(monkeypatch, "gluefactory.models.base_model", BaseModel=HlocModel)
    plugged = plug(project, "glue_factory").__new__(plug(project, "glue_factory"))
    nn.Module.__init__(plugged)
    plugged.set_initialized = lambda: None
    plugged._init(types.SimpleNamespace(weights=MODEL, max_num_keypoints=30))
    image = torch.from_numpy(shapes())[None, None].float() / 255
    found = plugged._forward({"image": image})
    expected = superpoint.load_model(MODEL).detect(shapes(), max_keypoints=30)
    count = len(expected)
    assert expected.descriptors is not None
    assert np.allclose(found["keypoints"][0, :count] - 0.5, expected.keypoints, atol=1e-4)
    assert np.allclose(found["descriptors"][0, :count], expected.descriptors)
    both = plugged._forward({"image": image.expand(2, 3, -1, -1), "image_size": torch.tensor([[96, 72], [40, 72]])})
    assert both["descriptors"].shape == (2, 30, 64)
    kept = both["keypoint_scores"] > 0
    assert both["keypoints"][0][kept[0]][:, 0].max() > 60
    assert both["keypoints"][1][kept[1]][:, 0].max() < 41


def test_vismatch(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    module(monkeypatch, "vismatch", BaseMatcher=VismatchMatcher)
    image = torch.from_numpy(shapes()).float().expand(3, -1, -1) / 255
    matcher = plug(project, "vismatch_matcher")("cpu", 20)
    start, end, first, second, described, _, scores = matcher._forward(image, image)
    expected = superpoint.load_model(MODEL).detect(shapes(), max_keypoints=20)
    assert np.allclose(first, expected.keypoints, atol=1e-2)
    assert len(described) == len(second) == len(start) == len(scores)
    assert np.array_equal(start, end)
