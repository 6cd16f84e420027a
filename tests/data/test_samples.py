import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from superpoint.config import DataConfig, HomographyConfig, PhotometricConfig, SyntheticConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.data.synthetic import PRIMITIVES
from superpoint.errors import UserError
from superpoint.geometry.cells import DUSTBIN, encode_points

FULL = DataConfig(curriculum=0)


def test_a_sample_is_a_function_of_seed_and_index() -> None:
    first, second, other = SyntheticShapes(FULL, 3), SyntheticShapes(FULL, 3), SyntheticShapes(FULL, 4)
    for index in (11, 0, 2**33):
        for name, value in first[index].items():
            assert torch.equal(value, second[index][name])
    assert not torch.equal(first[0]["image"], other[0]["image"])


def test_the_same_from_worker_processes() -> None:
    dataset = SyntheticShapes(dataclasses.replace(FULL, overfit=0), 3)
    loader = DataLoader(dataset, sampler=[4, 1, 9, 2], batch_size=2, num_workers=1)
    images = torch.cat([batch["image"] for batch in loader])
    torch.testing.assert_close(images, torch.stack([dataset[i]["image"] for i in (4, 1, 9, 2)]))


def test_targets_are_the_encoded_points_inside_the_valid_mask() -> None:
    dataset = SyntheticShapes(FULL, 0)
    for index in range(30):
        _, points, mask = dataset.draw(index)
        sample = dataset[index]
        plain = encode_points(points, 120, 160)
        assert torch.equal(sample["target"] == DUSTBIN, torch.from_numpy(plain == DUSTBIN))
        cells = mask.reshape(15, 8, 20, 8).all(axis=(1, 3))
        assert torch.equal(sample["valid"], torch.from_numpy(cells))


def test_warped_labels_stay_on_their_corners() -> None:
    config = dataclasses.replace(
        FULL, photometric=PhotometricConfig(enable=False), homography=HomographyConfig(probability=1.0)
    )
    dataset = SyntheticShapes(config, 0)
    at_labels, elsewhere = [], []
    rng = np.random.default_rng(0)
    for index in range(60):
        image, points, mask = dataset.draw(index)
        inside = points[((points >= 3) & (points < (156, 116))).all(axis=1)]
        for sink, places in ((at_labels, inside), (elsewhere, rng.uniform((3, 3), (156, 116), (len(inside), 2)))):
            for x, y in np.floor(places + 0.5).astype(int):
                if mask[y, x]:
                    sink.append(np.ptp(image[y - 2 : y + 3, x - 2 : x + 3]))
    assert len(at_labels) > 200
    assert np.median(at_labels) > 30
    assert np.median(at_labels) > 4 * np.median(elsewhere)


def test_curriculum_grows_with_the_index() -> None:
    still = SyntheticShapes(DataConfig(curriculum=1000), 0)
    full = SyntheticShapes(FULL, 0)
    off = {"photometric": PhotometricConfig(enable=False), "homography": HomographyConfig(enable=False)}
    plain = SyntheticShapes(dataclasses.replace(FULL, **off), 0)
    np.testing.assert_array_equal(still.draw(0)[0], plain.draw(0)[0])
    warped = [sum(not still.draw(i)[2].all() for i in range(a, a + 60)) for a in (0, 500, 2000)]
    assert warped[0] < warped[1] < warped[2]
    np.testing.assert_array_equal(still.draw(2000)[0], full.draw(2000)[0])


def test_overfit_repeats_a_few_samples_without_augmentation() -> None:
    dataset = SyntheticShapes(DataConfig(overfit=2), 0)
    assert len(dataset) == 2
    assert torch.equal(dataset[0]["image"], dataset[2]["image"])
    assert not torch.equal(dataset[0]["image"], dataset[1]["image"])
    assert dataset[0]["valid"].all()
    assert all(torch.equal(dataset[0]["target"], dataset[2 * i]["target"]) for i in range(20))
    assert all(len(dataset.draw(i)[1]) for i in range(2))


def test_overfit_starts_at_the_scene_asked_for() -> None:
    dataset = SyntheticShapes(DataConfig(overfit=2, overfit_first=40), 0)
    assert 40 <= dataset.repeated[0] < dataset.repeated[1] < 50
    np.testing.assert_array_equal(dataset.draw(1)[0], dataset.generator.scene(dataset.repeated[1]).image)
    with pytest.raises(UserError, match=r"data\.overfit_first"):
        DataConfig(overfit_first=-1)


def test_any_size_is_padded_and_the_padding_masked() -> None:
    dataset = SyntheticShapes(DataConfig(height=100, width=61), 0)
    sample = dataset[0]
    assert {name: (tuple(value.shape), value.dtype) for name, value in sample.items()} == {
        "image": ((1, 104, 64), torch.uint8),
        "target": ((13, 8), torch.int64),
        "valid": ((13, 8), torch.bool),
    }
    assert not sample["valid"][12].any()
    assert not sample["valid"][:, 7].any()
    assert sample["valid"][:12, :7].all()
    np.testing.assert_array_equal(sample["image"][0, :100, :61].numpy(), dataset.draw(0)[0])


def test_overfit_needs_scenes_with_labels() -> None:
    config = DataConfig(
        overfit=1, synthetic=SyntheticConfig(primitives=dict.fromkeys(PRIMITIVES, 0.0) | {"noise": 1.0})
    )
    with pytest.raises(UserError, match=r"data\.overfit"):
        SyntheticShapes(config, 0)
