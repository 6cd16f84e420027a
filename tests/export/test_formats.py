"""Files of every format: written, opened, and finding what torch finds."""

import json
from pathlib import Path

import pytest
import torch

from superpoint.backends import resolve
from superpoint.config import DecodeConfig, ModelConfig
from superpoint.config.export import FORMATS, SUFFIXES, ExportConfig
from superpoint.errors import UserError
from superpoint.export import open_exported, write_model
from superpoint.export import parity as parity_module
from superpoint.export.numbers import photograph_pairs, views
from superpoint.export.parity import measure_parity
from superpoint.inference import load_model
from superpoint.models import SuperPoint, build_model
from superpoint.models.decode import logits_to_probability
from superpoint.models.weights import load_weights
from superpoint.training.magicpoint import load_start
from tests.conftest import CommandLine

SCRIPT, OPENVINO = (ExportConfig(form, decode=DecodeConfig(3, 0.015, 4, 200)) for form in ("torchscript", "openvino"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def scripted(described: SuperPoint, folder: Path) -> Path:
    return write_model(described, folder / "model.pt", SCRIPT, {"source": "a test"})


@pytest.fixture(scope="module")
def converted(described: SuperPoint, folder: Path) -> Path:
    pytest.importorskip("openvino")
    return write_model(described, folder / "model.xml", OPENVINO)


class TestFast:
    def test_torchscript(self, described: SuperPoint, scripted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parity_module, "IMAGES", 3)
        (found,) = measure_parity(described, scripted, SCRIPT)
        assert found.passed
        assert found.agreement >= 0.995
        assert found.cosine is not None
        assert found.cosine > 0.999
        assert found.row()["precision"] == "fp32"

    def test_openvino(self, described: SuperPoint, converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parity_module, "IMAGES", 3)
        found = {each.precision: each for each in measure_parity(described, converted, OPENVINO)}
        assert found["fp32"].agreement >= 0.995
        assert ("bf16" in found) == (resolve("openvino")[1] == "bf16")
        assert all(each.passed for each in found.values())

    @pytest.mark.parametrize("form", ["torchscript", "openvino"])
    def test_two_channels(self, folder: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if form == "openvino":
            pytest.importorskip("openvino")
        monkeypatch.setattr(parity_module, "IMAGES", 6)
        _, architecture, _ = load_weights("magicpoint-compact")
        model = build_model(ModelConfig(**{**architecture, "channels": 2}))
        load_start(model, "magicpoint-compact")
        config = ExportConfig(form)
        path = write_model(model.eval(), folder / f"two{SUFFIXES[form]}", config)
        assert open_exported(path).channels == 2
        assert all(each.passed for each in measure_parity(model, path, config))

    def test_fixed_shape(self, described: SuperPoint, folder: Path) -> None:
        pytest.importorskip("openvino")
        config = ExportConfig("openvino", (96, 128), 3)
        path = write_model(described, folder / "fixed.xml", config)
        assert all(each.passed for each in measure_parity(described, path, config))
        detector = load_model(path)
        with pytest.raises(UserError, match=r"found 1 image\(s\) of 16x24, expected 3 of 96x128"):
            detector.network(torch.zeros(1, 1, 16, 24))

    @pytest.mark.parametrize("numbers", ["half", "int8"])
    def test_fewer_bits(
        self, numbers: str, described: SuperPoint, folder: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("openvino")
        if numbers == "int8":
            pytest.importorskip("nncf")
        monkeypatch.setattr(parity_module, "IMAGES", 4)
        config = ExportConfig("openvino", half=numbers == "half", int8=numbers == "int8")
        some, others = photograph_pairs(str(photographs), size=(72, 96))
        assert {pair.sequence for pair in some}.isdisjoint(pair.sequence for pair in others)
        assert len(some) == 2 * 5
        path = folder / f"{numbers}.xml"
        write_model(described, path, config, images=[each.numpy() for each in views(some)])
        (found,) = measure_parity(described, path, config, views(others))
        assert found.precision == config.numbers
        assert found.sizes[-1] == (72, 96)
        assert found.passed
        network = open_exported(path)
        assert network.precision == config.numbers
        image = torch.rand(1, 1, 48, 64, generator=torch.Generator().manual_seed(0))
        probability = logits_to_probability(network(image)["logits"])
        assert torch.allclose(network.maps(image)["probability"], probability, atol=0.02)

    def test_parity_sees_another_model(
        self, described: SuperPoint, scripted: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parity_module, "SIZES", ((97, 131),))
        shifted = parity_module.open_exported(scripted)
        run = shifted._run
        monkeypatch.setattr(shifted, "_run", lambda image: run(image[..., ::-1].copy()))  # mirrored images
        monkeypatch.setattr(parity_module, "open_exported", lambda *_: shifted)
        (found,) = measure_parity(described, scripted, SCRIPT)
        assert not found.passed
        assert found.agreement < 0.5

    def test_openvino_of_any_size(self, converted: Path) -> None:
        network = open_exported(converted, "fp32")
        for size in ((1, 1), (3, 40), (31, 16)):
            rows, columns = (size[0] + 7) // 8, (size[1] + 7) // 8
            assert network(torch.zeros(2, 1, *size))["logits"].shape == (2, 65, rows, columns)
        assert not [path for path in converted.parent.iterdir() if ".tmp" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "onnx-full"])
def test_command(form: str, weights: str, tmp_path: Path, cli: CommandLine) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / f"model{SUFFIXES[form]}"
    output = cli.succeeds("export-model", "--model", weights, "--format", form, "--out", out, "--max-keypoints", "150")
    assert "of the keypoints within 0.5 px of torch's" in output
    report = json.loads((tmp_path / f"{out.name}.parity.json").read_text())
    assert report["parity"][0]["agreement"] >= 0.995
    assert report["parity"][0]["keypoints"][0] > 200
    network = open_exported(out)
    assert network.metadata["outputs"] == report["outputs"]
    output = network(torch.zeros(2, 1, 30, 51))
    if form == "onnx-full":
        assert network.metadata["decoder"]["max_keypoints"] == 150
        assert output["keypoints"].shape == (2, 150, 2)
    else:
        assert output["logits"].shape == (2, 65, 4, 7)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--size 96 128 --batch 2", "--half", "--int8"])
def test_onnx_options(options: str, weights: str, photographs: Path, tmp_path: Path, cli: CommandLine) -> None:
    """OpenCV's DNN module reads the file of a fixed shape, and finds the same."""
    pytest.importorskip("onnxruntime")
    out, more = tmp_path / "model.onnx", options.split()
    more += ["--calibrate", str(photographs)] if "--int8" in more else []
    printed = cli.succeeds("export-model", "--model", weights, "--out", out, *more)
    report = json.loads((tmp_path / "model.onnx.parity.json").read_text())
    if "--size" in more:
        assert {each["runtime"] for each in report["parity"]} == {"onnxruntime", "opencv"}
        assert all(each["agreement"] >= 0.995 for each in report["parity"])
        return
    assert f"onnxruntime {report['parity'][0]['precision']}: " in printed
    assert report["parity"][0]["sizes"][-1] == [480, 640]


class TestErrors:
    @pytest.mark.parametrize("form", [form for form in FORMATS if SUFFIXES[form]])
    def test_suffix(self, form: str, described: SuperPoint, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=rf"found the suffix '\.bin', expected \{SUFFIXES[form]} for --format"):
            write_model(described, tmp_path / "a.bin", ExportConfig(form))

    def test_not_written(self, described: SuperPoint, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"--format: found 'onxx', expected one of .*did you mean 'onnx'"):
            ExportConfig("onxx")
        with pytest.raises(UserError, match="none: no such folder"):
            write_model(described, tmp_path / "none" / "a.onnx", ExportConfig())
        with pytest.raises(UserError, match="--max-keypoints: found 0, expected"):
            ExportConfig(decode=DecodeConfig(max_keypoints=0))

    @pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt"])
    @pytest.mark.parametrize("content", [b"", b"not a model, but a text", bytes(range(256)) * 9])
    def test_damaged(self, suffix: str, content: bytes, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("openvino")
        (tmp_path / "a.bin").write_bytes(content)
        (tmp_path / f"a{suffix}").write_bytes(content)
        with pytest.raises(UserError, match=rf"a\{suffix}: not a readable"):
            open_exported(tmp_path / f"a{suffix}")

    def test_incomplete(self, scripted: Path, converted: Path, tmp_path: Path) -> None:
        (tmp_path / "a.pt").write_bytes(scripted.read_bytes()[:-2000])
        with pytest.raises(UserError, match="not a readable TorchScript file"):
            open_exported(tmp_path / "a.pt")
        (tmp_path / "a.xml").write_bytes(converted.read_bytes())
        with pytest.raises(UserError, match=r"found no 'a\.bin' beside it"):
            open_exported(tmp_path / "a.xml")

    def test_of_another_program(self, tmp_path: Path) -> None:
        with pytest.warns(DeprecationWarning, match="deprecated"):
            torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), tmp_path / "a.pt")
        with pytest.raises(UserError, match="found no metadata of superpoint"):
            open_exported(tmp_path / "a.pt")

    def test_not_opened(self, scripted: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such file, expected an exported network"):
            open_exported(tmp_path / "a.onnx")
        (tmp_path / "a.tflite").write_bytes(b"x")
        with pytest.raises(UserError, match=r"found the suffix '\.tflite', expected one of"):
            open_exported(tmp_path / "a.tflite")
        with pytest.raises(UserError, match=r"found 'bf16', but \.pt files compute in fp32"):
            open_exported(scripted, "bf16")
