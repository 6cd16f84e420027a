import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from superpoint.config import MagicPointConfig, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.heatmaps import visualize as heatmaps
from superpoint.diagnostics.heatmaps.detector_output import Subject
from superpoint.diagnostics.heatmaps.visualize import Checkpoint, draw, labelled_photograph, visualize_heatmaps
from superpoint.engine import make_fabric
from superpoint.errors import UserError
from superpoint.models import build_model
from superpoint.models.weights import save_weights
from superpoint.training.magicpoint import fit_detector
from tests.conftest import TINY_MODEL, TINY_TRAINING, CommandLine

SETTINGS = [*TINY_TRAINING, "data.height=44", "data.width=60", "data.curriculum=5", "train.steps=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder of two steps on images whose sides are no multiples of 8."""
    folder = tmp_path_factory.mktemp("heatmaps") / "run"
    config = load_config(MagicPointConfig, None, [*SETTINGS, f"run={folder}"])
    dataset = SyntheticShapes(config.data, config.seed)
    fit_detector(config, make_fabric(config.train), dataset, lambda _: {"selected_by": "AP", "AP": 0.0})
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 150), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Figures by the name of their file, in place of the files."""
    figures: dict[str, Figure] = {}

    def keep(path: Path, figure: Figure) -> Path:
        figures[path.name] = figure
        return path

    monkeypatch.setattr(heatmaps, "save_figure", keep)
    return figures


def panels(figure: Figure) -> set[str]:
    return {str(axes.get_label()) for axes in figure.axes}


def test_command_writes_a_figure_of_a_photograph(run: Path, photo: Path, cli: CommandLine) -> None:
    output = cli.succeeds("visualize-heatmaps", "--model", run, "--image", photo, "--resize", 64)
    path = run / "heatmaps" / "street.png"
    with Image.open(path) as image:
        assert image.width == 1600
    assert str(path) in output
    assert [one.name for one in path.parent.iterdir()] == ["street.png"]


def test_several_checkpoints_are_drawn_one_by_one(run: Path, tmp_path: Path, drawn: dict[str, Figure]) -> None:
    sources = [run / "checkpoints" / "last.ckpt", run, "magicpoint-lite"]
    written = visualize_heatmaps(sources, indices=[7], out=tmp_path)
    assert [path.name for path in written] == [
        "sample_7_1-run-last.png",
        f"sample_7_2-{run.parent.name}-run.png",
        "sample_7_3-magicpoint-lite.png",
    ]
    titles = [figure.get_suptitle().splitlines()[0] for figure in drawn.values()]
    assert titles[1] == f"{run} (best.ckpt), step 2 on training sample 7"
    assert titles[2].startswith("magicpoint-lite, step ")
    assert {"argmax", "label"} <= panels(drawn["sample_7_1-run-last.png"])


def test_default_shows_scenes_of_the_run_and_photographs(run: Path, tmp_path: Path, drawn: dict[str, Figure]) -> None:
    visualize_heatmaps([run], out=tmp_path, longest=64)
    # The first scenes after the curriculum, which is over after 5 samples.
    assert list(drawn) == ["sample_5.png", "sample_6.png", "sample_7.png", "camera.png", "motorcycle_left.png"]
    assert "label" in panels(drawn["sample_5.png"])
    assert "label" not in panels(drawn["camera.png"])
    assert "(shrunk from 512 x 512)" in drawn["camera.png"].get_suptitle()


def test_default_without_scikit_image_says_so(
    run: Path,
    tmp_path: Path,
    drawn: dict[str, Figure],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing() -> None:
        raise UserError("the sample photographs need scikit-image")

    monkeypatch.setattr(heatmaps, "sample_photographs", missing)
    visualize_heatmaps([run], out=tmp_path)
    assert len(drawn) == 3
    assert "without photographs: the sample photographs need scikit-image" in capsys.readouterr().out


def test_released_weights_take_scenes_of_the_default_configuration(
    tmp_path: Path, drawn: dict[str, Figure], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heatmaps, "sample_photographs", list)
    visualize_heatmaps(["magicpoint-lite"], out=tmp_path)
    assert list(drawn) == ["sample_4000.png", "sample_4001.png", "sample_4002.png"]
    assert "scenes of the default configuration" in capsys.readouterr().out


def test_labels_of_a_photograph_are_shrunk_with_it(photo: Path, tmp_path: Path) -> None:
    labels = tmp_path / "street.csv"
    labels.write_text("x,y\n0,0\n149,89\n74.5,44.5\n")
    subject = labelled_photograph(photo, labels, 75)
    assert subject.image.shape == (45, 75)
    assert subject.points is not None
    np.testing.assert_allclose(subject.points, [[-0.25, -0.25], [74.25, 44.25], [37, 22]])
    assert labelled_photograph(photo, None, 400).image.shape == (90, 150)


def test_photographs_of_the_same_name_get_files_of_their_own(
    run: Path, photo: Path, tmp_path: Path, drawn: dict[str, Figure]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(photo, other)
    visualize_heatmaps([run], images=[photo, other / photo.name], out=tmp_path)
    assert list(drawn) == ["street.png", "street-2.png"]


def test_output_that_is_not_finite_names_the_checkpoint(tmp_path: Path) -> None:
    model = build_model(TINY_MODEL).eval()
    with torch.no_grad():
        next(model.detector.parameters()).fill_(float("nan"))
    subject = Subject("dark", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=r"run x, step 3: .* NaN or infinity"):
        draw([Checkpoint("run x, step 3", "x", model)], subject, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["magicpoint-lite", "--image", "nope.jpg"], "nope.jpg: no such file"),
        (["magicpoint-lite", "--image", "text.jpg"], "text.jpg: found a file that is not an image"),
        (["magicpoint-lite", "--image", "street.png", "--labels", "columns.csv"], "columns.csv"),
        (["magicpoint-lite", "--image", "street.png", "--labels", "outside.csv"], "outside.csv"),
        (["magicpoint-lite", "--labels", "outside.csv"], "found 0 times --image, expected the one image"),
        (["runs/no"], "runs/no: no such file"),
        (["empty", "--image", "street.png"], "empty: found no checkpoint"),
        (["other.safetensors", "--image", "street.png"], "other.safetensors: another architecture"),
        (["magicpoint-lite", "--index", "3"], "found weights without the configuration of a run, which --index needs"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: list[str], message: str, cli: CommandLine, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("text.jpg").write_text("not an image")
    Path("columns.csv").write_text("1,2\n3,4,five\n")
    Path("outside.csv").write_text("1000,2\n")
    Path("empty").mkdir()
    config = {"encoder": "lite", "head_channels": 16, "descriptor_dim": 0, "init": "kaiming"}
    save_weights(Path("other.safetensors"), nn.Conv2d(1, 2, 3), config)
    assert message in cli.fails("visualize-heatmaps", "--model", *arguments, "--out", "out")
    assert not Path("out").exists()


def test_weights_need_a_place(cli: CommandLine) -> None:
    message = cli.fails("visualize-heatmaps", "--model", "magicpoint-lite")
    assert "say with --out where the pictures should go" in message
