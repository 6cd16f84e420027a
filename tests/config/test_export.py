"""What `export-model` refuses before it loads anything."""

from pathlib import Path

import pytest

from superpoint.config.export import ExportConfig
from tests.conftest import CommandLine


def test_shape_and_numbers() -> None:
    assert ExportConfig().shape is None
    assert ExportConfig(size=(480, 640)).shape == (1, 480, 640)
    assert ExportConfig("openvino", (16, 24), 3, half=True).shape == (3, 16, 24)
    assert [ExportConfig().numbers, ExportConfig(half=True).numbers, ExportConfig(int8=True).numbers] == [
        *("fp32", "fp16", "int8")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--size 97 128", "--size: found 97x128, expected HEIGHT WIDTH, multiples of 8 from 16"),
        ("--size 0 128", "--size: found 0x128"),
        ("--batch 0 --size 96 128", "'--batch'"),
        ("--batch 2", "--batch: found 2 without --size"),
        ("--half --int8", "--half: found beside --int8"),
        ("--int8 --format torchscript", "--int8: found --format torchscript, expected one of onnx, openvino"),
        ("--half --format onnx-full", "--half: found --format onnx-full, expected one of onnx, openvino"),
        ("--size 96 128 --format transformers", "--size: found --format transformers, expected one of onnx, onnx-full"),
        ("--calibrate .", "--calibrate: found without --int8"),
        ("--int8 --calibrate none", "none: no such file or folder"),
    ],
)
def test_mistakes(options: str, message: str, tmp_path: Path, cli: CommandLine) -> None:
    out = tmp_path / "a.onnx"
    assert message in cli.fails("export-model", "--model", "superpoint-lite", "--out", out, *options.split())
    assert not out.exists()


def test_no_photographs(tmp_path: Path, cli: CommandLine) -> None:
    (tmp_path / "empty").mkdir()
    error = cli.fails(
        *("export-model", "--model", "magicpoint-lite", "--int8", "--out", tmp_path / "a.onnx"),
        *("--calibrate", tmp_path / "empty"),
    )
    assert f"{tmp_path / 'empty'}: found no image" in error or "expected" in error
    assert not (tmp_path / "a.onnx").exists()
