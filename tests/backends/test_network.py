import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from superpoint.backends import Network, choice, make_network
from superpoint.backends.pytorch import fold_batch_norms
from superpoint.config import AdaptationConfig, DecodeConfig, ModelConfig
from superpoint.data.images import sample_photographs
from superpoint.errors import UserError
from superpoint.labelling import HomographicAdaptation, agreement
from superpoint.models import SuperPoint, build_model, load_network
from superpoint.models.decode import logits_to_probability
from tests.conftest import photograph

RUNTIMES = {"torch": ["torch"], "openvino": ["openvino"], "onnxruntime": ["onnxruntime", "onnx", "onnxscript"]}
FP32 = [("torch", "fp32"), ("openvino", "fp32"), ("onnxruntime", "fp32")]
BF16 = [("torch", "bf16"), ("openvino", "bf16")]


def need(backend: str) -> None:
    absent = [package for package in RUNTIMES[backend] if importlib.util.find_spec(package) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed (pip install 'superpoint[export]')")


def described_model(encoder: str = "lite", fine: int = 0) -> SuperPoint:
    """With descriptors, and batch norms that have seen something: untrained ones are the identity."""
    model = build_model(ModelConfig(encoder=encoder, head_channels=16, descriptor_dim=8, fine=fine))
    random = torch.Generator().manual_seed(3)
    if model.detector.fine is not None:  # which starts as nothing
        nn.init.normal_(model.detector.fine.logit.weight, generator=random)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                assert values is not None
                values.copy_(torch.rand(len(values), generator=random) + 0.5)
            for values in (module.bias.data, module.running_mean):
                assert values is not None
                values.copy_(torch.randn(len(values), generator=random) * 0.1)
    return model.eval()


@cache
def pretrained(backend: str, precision: str, weights: str = "magicpoint-lite") -> Network:
    """Made once: an exporter takes seconds."""
    return make_network(load_network(weights), backend, precision, "cpu")


@cache
def photograph_labels(
    weights: str, backend: str, precision: str, homographies: int, size: tuple[int, int]
) -> list[np.ndarray]:
    config = AdaptationConfig(homographies=homographies)
    adaptation = HomographicAdaptation(pretrained(backend, precision, weights), config, DecodeConfig())
    return [adaptation(photograph(name, *size), name).keypoints for name, _ in sample_photographs()]


@pytest.mark.parametrize(("backend", "precision"), FP32[1:] + BF16)
@pytest.mark.parametrize(
    ("weights", "homographies", "size"),
    [
        *(("magicpoint-lite", 1, (100, 133)), ("magicpoint-lite", 6, (100, 133))),
        pytest.param("magicpoint", 4, (240, 320), marks=pytest.mark.slow),
    ],
)
def test_labels_are_those_of_torch(
    backend: str, precision: str, weights: str, homographies: int, size: tuple[int, int]
) -> None:
    need(backend)
    within, required = {"fp32": (0.5, 0.995), "bf16": (1.0, 0.99)}[precision]
    ours = photograph_labels(weights, backend, precision, homographies, size)
    reference = photograph_labels(weights, "torch", "fp32", homographies, size)
    counts = [len(a) + len(b) for a, b in zip(ours, reference, strict=True)]
    shares = [agreement(a, b, within) for a, b in zip(ours, reference, strict=True)]
    assert sum(counts) > 500
    assert np.average(shares, weights=counts) >= required


@pytest.mark.parametrize(("backend", "precision"), FP32 + BF16)
def test_any_batch_and_size(backend: str, precision: str) -> None:
    need(backend)
    model, run = load_network("magicpoint-lite"), pretrained(backend, precision)
    assert (run.backend, run.precision, run.device) == (backend, precision, torch.device("cpu"))
    assert str(run) == f"{backend} {precision} on cpu"
    for shape in ((1, 8, 8), (3, 40, 24), (1, 16, 16), (2, 24, 64)):
        image = torch.rand(shape[0], 1, *shape[1:], generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = model(image)["logits"]
        found = run(image)
        assert list(found) == ["logits"]
        assert found["logits"].dtype == torch.float32
        assert found["logits"].shape == expected.shape
        tolerance = 1e-3 if precision == "fp32" else 0.02 * float(expected.abs().max())
        assert float((found["logits"] - expected).abs().max()) < tolerance


@pytest.mark.parametrize(("encoder", "fine"), [("lite", 0), ("lite", 4), ("compact", 4)])
@pytest.mark.parametrize("backend", RUNTIMES)
def test_descriptors(backend: str, encoder: str, fine: int) -> None:
    need(backend)
    model = described_model(encoder, fine)
    image = torch.rand(2, 1, 24, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(image)
    found = make_network(model, backend, "fp32", "cpu")(image)
    assert list(found) == ["logits", "descriptors"]
    for name, values in expected.items():
        assert torch.allclose(found[name], values, atol=1e-4)
    assert torch.allclose(found["descriptors"].norm(dim=1), torch.ones(2, 3, 5), atol=1e-4)


@pytest.mark.parametrize(("backend", "precision"), [("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")])
def test_maps_hold_what_the_decoder_makes_of_the_logits(backend: str, precision: str) -> None:
    need(backend)
    model = described_model()
    with torch.no_grad():
        model.detector.logits.weight.mul_(400)  # else all pixels are alike
    run = make_network(model, backend, precision, "cpu")
    for shape in ((1, 24, 40), (3, 8, 8), (2, 40, 16)):
        image = torch.rand(shape[0], 1, *shape[1:], generator=torch.Generator().manual_seed(1))
        expected, found = run(image), run.maps(image)
        assert set(found) == {"probability", "descriptors"}
        assert found["probability"].dtype == torch.float32
        probability = logits_to_probability(expected["logits"])
        assert probability.std() > 0.01
        error = (found["probability"] - probability).abs()
        if precision == "bf16":  # the logits may have been rounded
            error = error.minimum((found["probability"] - logits_to_probability(expected["logits"].bfloat16())).abs())
        assert error.max() < 1e-5
        torch.testing.assert_close(found["descriptors"], expected["descriptors"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_results_of_a_call_outlive_the_next(backend: str) -> None:
    need(backend)
    run = make_network(described_model(), backend, "fp32", "cpu")
    first = run(torch.rand(1, 1, 16, 24))
    before = {name: values.clone() for name, values in first.items()}
    run(torch.zeros(1, 1, 16, 24))
    run.maps(torch.zeros(1, 1, 16, 24))
    assert all(torch.equal(first[name], values) for name, values in before.items())


def test_the_model_stays_as_it_was() -> None:
    model = described_model().train()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    image = torch.rand(2, 1, 24, 40)
    run = make_network(model, "torch", "fp32", "cpu")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fold_batch_norms(model).modules())
    first = run(image)["logits"]
    assert model.training
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    with torch.no_grad():
        for values in model.parameters():
            values.zero_()
    assert torch.equal(run(image)["logits"], first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "openvno"}, r"backend: found 'openvno', expected one of .*; did you mean 'openvino'\?"),
        ({"precision": "fp16"}, r"precision: found 'fp16', expected one of auto, fp32, bf16"),
        ({"device": "gpu"}, r"device: found 'gpu', expected one of auto, cpu, cuda, mps"),
        ({"backend": "openvino", "device": "cuda"}, "device: found 'cuda', expected 'cpu'"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "onnxruntime has no bf16 convolutions"),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_network(described_model(), **arguments)


@pytest.mark.parametrize(
    ("backend", "package"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime"), ("onnxruntime", "onnxscript")]
)
def test_a_runtime_that_is_not_installed(backend: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if package == "onnxscript":
        need("onnxruntime")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"'{package}' is not installed: pip install 'superpoint\[export\]'"):
        make_network(described_model(), backend)


@pytest.mark.parametrize("installed", [True, False])
def test_auto_takes_openvino_if_it_is_there(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if installed:
        need("openvino")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert make_network(described_model(), device="cpu").backend == ("openvino" if installed else "torch")


@pytest.mark.parametrize(("instructions", "expected"), [(["amx_bf16"], "bf16"), ([], "fp32")])
def test_auto_precision_follows_the_instructions(
    instructions: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "native_bf16_instructions", lambda: instructions)
    assert make_network(described_model(), "torch", device="cpu").precision == expected


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device: found 'cuda', but torch sees no CUDA GPU"):
        make_network(described_model(), device="cuda")
    assert make_network(described_model(), "torch").device == torch.device("cpu")


@pytest.mark.parametrize(("rank", "gpu"), [(None, "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0")])
def test_each_process_takes_a_gpu_of_its_own(rank: str | None, gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    taken: list[str] = []
    monkeypatch.setattr(
        "superpoint.backends.choice.TorchNetwork", lambda model, precision, device: taken.append(device)
    )
    make_network(described_model(), "torch", "fp32", "cuda")
    assert taken == [gpu]


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    """In a process of its own: what is imported already is not imported again."""
    need("openvino")
    code = (
        "import sys\n"
        "from superpoint.backends import make_network\n"
        "from superpoint.models import load_network\n"
        "print(make_network(load_network('magicpoint-lite'), 'openvino'))\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].startswith("openvino ")
    assert result.stdout.splitlines()[1] == "[]"
    assert not (tmp_path / "intel").exists()
    assert result.stderr == ""
