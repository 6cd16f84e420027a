import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from superpoint import pretrained as registry
from superpoint.config import FinetuneConfig, ModelConfig, PipelineConfig
from superpoint.errors import UserError
from superpoint.models.checkpoint import REQUIRED_KEYS, save_checkpoint
from superpoint.models.weights import load_model_state, load_weights, model_hash, save_weights
from superpoint.pretrained import result_run

CONFIG = {"encoder": "tiny", "head_channels": 6, "descriptor_dim": 0, "init": "kaiming"}


def network(channels: int = 6, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.Conv2d(channels, 65, 1))
        model(torch.rand(2, 1, 9, 9))  # fills the batch statistics
    return model.eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_weights(path, network(), CONFIG, {"run": "a", "ap": 0.5})
    return path


class TestRoundTrip:
    def test_exact(self, file: Path) -> None:
        state, config, metadata = load_weights(file)
        assert config == CONFIG
        assert metadata == {"run": "a", "ap": 0.5}
        with safe_open(file, framework="pt") as handle:
            assert json.loads(handle.metadata()["model_config"]) == CONFIG
        expected = network().state_dict()
        assert list(state) == sorted(expected)
        for name, tensor in expected.items():
            assert state[name].dtype == tensor.dtype
            assert torch.equal(state[name], tensor)

    def test_channels_last(self, tmp_path: Path) -> None:
        save_weights(tmp_path / "a.safetensors", network().to(memory_format=torch.channels_last), CONFIG)  # type: ignore[call-overload]
        state, _, metadata = load_weights(tmp_path / "a.safetensors")
        assert metadata == {}
        assert torch.equal(state["0.weight"], network().state_dict()["0.weight"])

    def test_half(self, tmp_path: Path, file: Path) -> None:
        half = tmp_path / "half.safetensors"
        model = network()
        model.get_buffer("1.running_var").fill_(1e-9)  # not a float16
        save_weights(half, model, CONFIG, half=True)
        state, _, _ = load_weights(half)
        assert half.stat().st_size < file.stat().st_size
        assert state["2.weight"].dtype == torch.float32
        assert torch.equal(state["2.weight"], model.state_dict()["2.weight"].half().float())
        assert torch.equal(state["1.running_var"], model.state_dict()["1.running_var"])
        assert state["1.num_batches_tracked"].dtype == torch.int64

    def test_half_overflow(self, tmp_path: Path) -> None:
        model = network()
        model.get_parameter("0.weight").data[0] = 1e6
        with pytest.raises(UserError, match=r"'0\.weight' holds a value beyond 65504"):
            save_weights(tmp_path / "a.safetensors", model, CONFIG, half=True)
        assert list(tmp_path.iterdir()) == []

    def test_compiled_model_keeps_its_names(self, tmp_path: Path) -> None:
        save_weights(tmp_path / "a.safetensors", torch.compile(network(), backend="eager"), CONFIG)  # type: ignore[arg-type]
        assert "0.weight" in load_weights(tmp_path / "a.safetensors")[0]

    def test_loaded_model_gives_the_same_output(self, file: Path) -> None:
        model = network(seed=1).eval()
        load_model_state(model, load_weights(file)[0], file)
        image = torch.rand(1, 1, 9, 9)
        assert torch.equal(model(image), network()(image))


class TestErrors:
    def test_a_failed_write_keeps_the_old_file(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = file.read_bytes()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("superpoint.files.os.fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            save_weights(file, network(seed=1), CONFIG)
        assert file.read_bytes() == before
        assert list(file.parent.iterdir()) == [file]

    def test_missing_truncated_and_other_files(self, tmp_path: Path, file: Path) -> None:
        with pytest.raises(UserError, match=r"a\.safetensors: no such file"):
            load_weights(tmp_path / "a.safetensors")
        content = file.read_bytes()
        parts = [content[:length] for length in (0, 4, 100, len(content) // 2, len(content) - 1)]
        for wrong in (*parts, b"not weights at all, but a text of some length"):
            file.write_bytes(wrong)
            with pytest.raises(UserError, match="not a readable safetensors file"):
                load_weights(file)

    @pytest.mark.parametrize(
        ("metadata", "message"),
        [
            (None, "found no 'model_config'"),
            ({"model_config": "{}", "superpoint_weights": "2"}, "found weight format 2, expected 1"),
            ({"model_config": "{", "superpoint_weights": "1"}, "is no mapping in JSON"),
            ({"model_config": "[[1]]", "superpoint_weights": "1"}, "is no mapping in JSON"),
        ],
    )
    def test_other_metadata(self, file: Path, metadata: dict[str, str] | None, message: str) -> None:
        save_file({"a": torch.zeros(2)}, file, metadata=metadata)
        with pytest.raises(UserError, match=message):
            load_weights(file)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"0.weight": torch.zeros(4, 1, 3, 3)}, r"'0\.weight' of shape \[4, 1, 3, 3\], expected \[6, 1, 3, 3\]"),
        ({"1.running_mean": None}, r"no '1\.running_mean', expected shape \[6\]"),
        ({"more.weight": torch.zeros(3, 2)}, r"'more\.weight' of shape \[3, 2\], expected no such name"),
    ],
)
def test_another_architecture_changes_nothing(changed: dict[str, Tensor | None], found: str) -> None:
    model = network(6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {name: tensor for name, tensor in {**network(seed=1).state_dict(), **changed}.items() if tensor is not None}
    with pytest.raises(UserError, match=f"^x: .*found {found}$"):
        load_model_state(model, state, "x")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class TestCheckpoints:
    @staticmethod
    def write(path: Path, *, ema: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            **{str(key): None for key in REQUIRED_KEYS},
            **{"config": "model:\n  encoder: tiny\nseed: 3\n", "step": 7, "best": 0.25},
            "model": network(seed=1).state_dict(),
            "ema": network(seed=2).state_dict() if ema else None,
        }
        save_checkpoint(path, state)

    @pytest.mark.parametrize(("ema", "seed"), [(True, 2), (False, 1)])
    def test_checkpoint(self, tmp_path: Path, ema: bool, seed: int) -> None:
        self.write(tmp_path / "last.ckpt", ema=ema)
        state, config, metadata = load_weights(tmp_path / "last.ckpt")
        assert config == {"encoder": "tiny"}
        assert metadata == {"checkpoint": "last.ckpt", "step": 7, "best": 0.25}
        assert torch.equal(state["0.weight"], network(seed=seed).state_dict()["0.weight"])

    def test_run_folder_prefers_the_best(self, tmp_path: Path) -> None:
        self.write(tmp_path / "checkpoints" / "last.ckpt", ema=False)
        assert load_weights(tmp_path)[2]["checkpoint"] == "last.ckpt"
        self.write(tmp_path / "checkpoints" / "best.ckpt", ema=False)
        assert load_weights(tmp_path)[2]["checkpoint"] == "best.ckpt"

    @pytest.mark.parametrize(("config", "settings"), [(FinetuneConfig, "finetune"), (PipelineConfig, "pipeline")])
    def test_a_chain_stands_for_its_last_training(self, tmp_path: Path, config: type, settings: str) -> None:
        chain = config(run=str(tmp_path))
        given = [ModelConfig(descriptor_dim=8)] if settings == "finetune" else []
        training = (chain.of_training if given else chain.of_superpoint)(*given, "weights", "labels", "images")
        (tmp_path / f"{settings}.yaml").touch()
        with pytest.raises(UserError, match=f"this {settings} has not come to its .* yet; go on with it by --resume"):
            load_weights(tmp_path)
        self.write(Path(training.run) / "checkpoints" / "best.ckpt", ema=False)
        assert load_weights(tmp_path)[2]["checkpoint"] == "best.ckpt"
        assert result_run(tmp_path) == Path(training.run)
        assert result_run(training.run) == Path(training.run)

    def test_folder_without_checkpoints(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="found no checkpoint"):
            load_weights(tmp_path)


class TestReleasedNames:
    def test_files_and_runs_go_before_them_but_no_other_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretrained, here = tmp_path / "pretrained", tmp_path / "here"
        pretrained.mkdir()
        (here / "superpoint").mkdir(parents=True)  # as in a clone of this project
        save_weights(pretrained / "superpoint.safetensors", network(), CONFIG, {"from": "release"})
        monkeypatch.setattr(registry, "PRETRAINED", pretrained)
        monkeypatch.chdir(here)
        assert load_weights("superpoint")[2] == {"from": "release"}
        save_weights(here / "superpoint/weights.safetensors", network(), CONFIG, {"from": "run"})
        assert load_weights("superpoint")[2] == {"from": "run"}


class TestHash:
    def test_changes_with_weights_and_names_alone(self) -> None:
        model = network()
        same = network().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        assert model_hash(model) == model_hash(same)
        assert len(model_hash(model)) == 16
        assert model_hash(network(seed=1)) != model_hash(model)
        assert model_hash(nn.Sequential(model)) != model_hash(model)
        with torch.no_grad():
            same[0].bias[0] += 1e-6
        assert model_hash(same) != model_hash(model)
