import json
from pathlib import Path

import pytest

from superpoint.models import load_network
from tests.conftest import CommandLine


def test_table_when_piped_is_plain_and_whole(cli: CommandLine) -> None:
    text = cli.succeeds("summary", "--model", "magicpoint-lite")
    parameters = sum(p.numel() for p in load_network("magicpoint-lite").parameters())
    assert f"{parameters:,} parameters" in text
    assert "a multiply-add is 2 FLOPs" in text
    row = next(line for line in text.splitlines() if "detector.logits" in line)
    assert row.split()[:8] == ["detector.logits", "conv", "1x1", "15", "x", "20", "x", "65"]
    assert not set(text) & set("│┃━┏…")


def test_json_is_the_only_output(tmp_path: Path, cli: CommandLine) -> None:
    options = ["--height", 48, "--width", 64, "--json", "--out", tmp_path / "a.svg"]
    content = json.loads(cli.succeeds("summary", "model.encoder=lite", *options))
    assert content["height"] == 48
    assert content["parameters"] == sum(layer["parameters"] for layer in content["layers"])
    assert (tmp_path / "a.svg").stat().st_size > 10_000


def test_configuration_file_and_overrides(tmp_path: Path, cli: CommandLine) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("stage: train-superpoint\nmodel: {encoder: lite, head_channels: 24}\ntrain: {batch_size: 4}\n")
    options = ["--config", file, "model.descriptor_dim=64", "--height", 48, "--width", 64, "--json"]
    found = json.loads(cli.succeeds("summary", *options))
    assert found["layers"][-1]["shape"] == [6, 8, 64]


def test_padding_is_mentioned(cli: CommandLine) -> None:
    assert "the image is padded to 104 x 160" in cli.succeeds(
        "summary", "--model", "magicpoint-lite", "--height", "100"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing-there"], "nothing-there: no such file"),
        (["model.encoder=foo"], "model.encoder: found 'foo'"),
        (["model.encoders=vgg"], "encoders"),
        (
            ["--model", "magicpoint-lite", "model.encoder=lite"],
            "found --model magicpoint-lite and a recipe, expected one of the two",
        ),
        (["--height", "0"], "--height: found 0, expected 1 to 65536 pixels"),
        (["--out", "a.pdf"], "found 'a.pdf'"),
        (["--config", "no.yaml"], "no.yaml: no such config file"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, cli: CommandLine) -> None:
    assert message in cli.fails("summary", *arguments)
