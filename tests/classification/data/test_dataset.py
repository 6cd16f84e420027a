from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from superpoint.classification.config import ClassAugmentConfig, ClassDataConfig
from superpoint.classification.data.csv_list import write_csv_list
from superpoint.classification.data.dataset import (
    TrainingImages,
    load_images,
    measure_input,
    open_images,
    readable,
)
from superpoint.classification.data.images import in_channels
from superpoint.errors import UserError
from tests.classification.data.drawings import draw, drawn, idx_bytes, write_folder, write_idx

CONFIG = ClassDataConfig(height=16, width=16)
PLAIN = ClassAugmentConfig(crop="centre", flip=0.0)


def make(augment: ClassAugmentConfig = PLAIN, seed: int = 0, count: int = 4) -> TrainingImages:
    images = drawn(count)
    return TrainingImages(images, measure_input(images, CONFIG, augment), augment, seed)


def test_an_epoch_is_every_image_once_in_an_order_of_its_own() -> None:
    dataset = make()
    epochs = [[dataset.number(12 * epoch + place) for place in range(12)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_sample_is_a_function_of_seed_and_index() -> None:
    augment = ClassAugmentConfig(brightness=0.3)
    first, again, other = make(augment), make(augment), make(augment, seed=1)
    later = {index: again[index] for index in (30, 3, 17)}  # in any order
    for index, sample in later.items():
        assert torch.equal(first[index]["image"], sample["image"])
        assert int(sample["index"]) == index
        assert sample["image"].shape == (3, 16, 16)
        assert sample["image"].dtype == torch.uint8
        assert not torch.equal(other[index]["image"], sample["image"])
        assert int(sample["label"]) == first.images.labels[first.number(index)]
    assert not torch.equal(first[3]["image"], first[15]["image"])


def test_normalised_input_has_mean_0_and_deviation_1() -> None:
    dataset = make(count=20)
    spec = dataset.spec
    image = spec.normalise(torch.stack([dataset[index]["image"] for index in range(60)]))
    assert image.mean(dim=(0, 2, 3)).abs().max() < 0.15
    assert (image.std(dim=(0, 2, 3)) - 1).abs().max() < 0.15
    mean = measure_input(dataset.images, replace(CONFIG, normalise="mean"), PLAIN)
    none = measure_input(dataset.images, replace(CONFIG, normalise="none"), PLAIN)
    assert mean.mean == spec.mean
    assert mean.deviation == [1.0] * 3
    assert none.mean == [0.0] * 3


def test_grey_images() -> None:
    config = replace(CONFIG, channels=1)
    spec = measure_input(drawn(2), config, PLAIN)
    assert len(spec.mean) == 1
    assert spec.views(draw(0, 0)).shape == (1, 1, 16, 16)
    assert in_channels(np.full((2, 2, 3), 7, np.uint8), 1).tolist() == [[[7], [7]], [[7], [7]]]
    assert in_channels(np.full((2, 2), 7, np.uint8), 3).shape == (2, 2, 3)


def test_every_source_gives_the_same_images(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", count=5)
    write_csv_list(tmp_path / "data", tmp_path / "list.csv", test_share=0.2, seed=0)
    folder = open_images(replace(CONFIG, train=str(tmp_path / "data")), 0)
    listed = open_images(replace(CONFIG, train=str(tmp_path / "list.csv")), 0)
    idx = open_images(replace(CONFIG, train=str(write_idx(tmp_path / "idx", count=5))), 0)
    for train, test in (folder, listed, idx):
        assert (len(train), len(test)) == (12, 3)
        assert test.counts().tolist() == [1, 1, 1]
    assert {f"data/{name}" for name in folder[1].names} == set(listed[1].names)
    assert idx[0].classes == ["0", "1", "2"]
    both = open_images(replace(CONFIG, train=str(tmp_path / "data"), test=str(tmp_path / "data")), 0)
    assert len(both[0]) == len(both[1]) == 15


def test_limits_are_drawn_by_the_seed(tmp_path: Path) -> None:
    config = replace(CONFIG, train=str(write_folder(tmp_path, count=20)), limit=30, test_limit=5)
    first, again, other = (open_images(config, seed)[0].names for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 30
    assert len(open_images(config, 0)[1]) == 5


@pytest.mark.parametrize("content", [b"", b"not an image", "1x1"])
def test_images_that_cannot_be_used_are_skipped_and_counted(tmp_path: Path, content: bytes | str) -> None:
    write_folder(tmp_path, count=4)
    if content == "1x1":
        cv2.imwrite(str(tmp_path / "2" / "3.png"), np.zeros((1, 1), np.uint8))
    else:
        (tmp_path / "2" / "3.png").write_bytes(content)  # type: ignore[arg-type]
    config = replace(CONFIG, train=str(tmp_path), test=str(tmp_path))
    images = load_images(config, open_images(config, 0)[0])
    assert len(images) == 11
    assert images.counts().tolist() == [4, 3, 4]
    assert [name for name, _ in images.skipped] == ["2/3.png"]
    assert np.array_equal(images.read(10), draw(2, 3))


def test_images_too_many_for_memory_are_read_when_needed(tmp_path: Path) -> None:
    write_folder(tmp_path, count=4)
    (tmp_path / "2" / "3.png").write_bytes(b"")
    config = replace(CONFIG, train=str(tmp_path), test=str(tmp_path), in_memory=5)
    images = load_images(config, open_images(config, 0)[0])
    assert len(images) == 12  # not looked at
    assert readable(images, 6)[0] == 7  # the next one in its place
    spec = measure_input(images, config, PLAIN)
    dataset = TrainingImages(images, spec, PLAIN, 0)
    assert len({int(dataset[index]["label"]) for index in range(12)}) == 3


def test_bad_data_is_one_clear_line(tmp_path: Path) -> None:
    def message(**keys: object) -> str:
        config = replace(CONFIG, **keys)  # type: ignore[arg-type]
        with pytest.raises(UserError) as caught:
            load_images(config, open_images(config, 0)[0])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    data = str(write_folder(tmp_path / "data", count=4))
    assert "data.train: found nothing" in message()
    assert "no such file or folder" in message(train=str(tmp_path / "absent"))
    (tmp_path / "a.txt").write_text("")
    assert "found a file of another kind" in message(train=str(tmp_path / "a.txt"))
    write_folder(tmp_path / "other", count=1, classes=("1", "3"))
    assert "found the classes 1, 3, expected those of the training images" in message(
        train=data, test=str(tmp_path / "other")
    )
    assert "no training image of" in message(train=data, limit=2)
    idx = write_idx(tmp_path / "idx")
    assert "has label 2, expected 0 to 1" in message(train=str(idx), classes=["a", "b"])
    (tmp_path / "idx" / "one").write_bytes(idx_bytes(np.zeros(24, np.uint8)))
    assert "found one class only" in message(train=str(idx), train_labels=str(tmp_path / "idx" / "one"))
    for image in (tmp_path / "data" / "2").iterdir():
        image.write_bytes(b"")
    assert "class '2': none of its images can be used" in message(train=data)
