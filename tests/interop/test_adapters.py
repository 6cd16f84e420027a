"""Adapters against the packages themselves: kornia's LightGlue and LocalFeatureMatcher, OpenCV."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from superpoint.config import DecodeConfig, ModelConfig
from superpoint.config.inference import NMS_RADIUS
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.interop.lightglue import lightglue_input, matches_of
from superpoint.interop.local_feature import KorniaFeature
from superpoint.interop.opencv import to_dmatches, to_keypoints
from superpoint.matching import Matches
from superpoint.models import SuperPoint, build_model, extract
from tests.interop.test_files import features


@pytest.fixture(scope="module")
def model() -> SuperPoint:
    return build_model(ModelConfig(encoder="lite", head_channels=16, descriptor_dim=8)).eval()


class TestLightGlue:
    def test_kornia_runs_on_it(self) -> None:
        """Random weights, so nothing is downloaded."""
        from kornia.feature import LightGlue

        with torch.random.fork_rng():
            torch.manual_seed(0)
            matcher = LightGlue(None, input_dim=32, descriptor_dim=32, num_heads=2, n_layers=2, filter_threshold=0.0)  # type: ignore[arg-type]
        first, second = features(40, 0), features(50, 1)
        inputs = lightglue_input(first, second)
        assert inputs["image0"]["keypoints"].shape == (1, 40, 2)
        assert inputs["image1"]["descriptors"].shape == (1, 50, 32)
        assert inputs["image0"]["image_size"].tolist() == [[64.0, 48.0]]
        with torch.no_grad():
            output = matcher.eval()(inputs)
        found = matches_of(output)
        assert len(found) > 0
        assert found.indices[:, 0].max() < 40
        assert found.indices[:, 1].max() < 50
        assert (np.diff(found.scores) <= 0).all()

    def test_no_descriptors(self) -> None:
        bare = Features(np.zeros((1, 2)), np.ones(1), None, (8, 8))
        with pytest.raises(UserError, match="features1: found no descriptors"):
            lightglue_input(features(3, 0), bare)

    def test_keypoints_in_the_outer_half_of_a_pixel_are_on_the_image(self) -> None:
        edge = replace(features(2, 0), keypoints=np.array([[-0.4, 3.0], [5.0, -0.5]], np.float32))
        assert lightglue_input(edge, edge)["image0"]["keypoints"].tolist() == [[[0.0, 3.0], [5.0, 0.0]]]
        with pytest.raises(UserError, match="features1: found keypoints outside their image of 64x48"):
            lightglue_input(edge, replace(edge, keypoints=edge.keypoints + np.array([60, 0])))


class TestKornia:
    def test_frames(self, model: SuperPoint) -> None:
        from kornia.feature import get_laf_center, laf_is_filled

        images = torch.rand(2, 3, 50, 61, generator=torch.Generator().manual_seed(0))
        local = KorniaFeature(model, 400, threshold=0.0)
        frames, responses, descriptors = local(images)
        assert frames.shape == (2, 400, 2, 3)
        assert descriptors.shape == (2, 400, 8)
        gray = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        for index, each in enumerate(extract.features(model, gray, DecodeConfig(NMS_RADIUS, 0.0))):
            count = len(each)
            assert 5 < count < 400
            assert torch.allclose(get_laf_center(frames)[index, :count], torch.from_numpy(each.keypoints))
            assert torch.allclose(responses[index, :count], torch.from_numpy(each.scores))
            assert bool((frames[index, count:] == 0).all())
            assert descriptors[index, :count].norm(dim=1) == pytest.approx(torch.ones(count), abs=1e-5)
        assert torch.equal(laf_is_filled(frames), responses > 0)

    def test_matcher_of_kornia(self, model: SuperPoint) -> None:
        """An image and itself: every point is its own partner."""
        from kornia.feature import DescriptorMatcher, LocalFeatureMatcher

        image = torch.rand(1, 1, 48, 64, generator=torch.Generator().manual_seed(1))
        matcher = LocalFeatureMatcher(KorniaFeature(model, 200, threshold=0.0), DescriptorMatcher("mnn"))
        with torch.no_grad():
            found = matcher({"image0": image, "image1": image})
        assert len(found["keypoints0"]) > 5
        assert torch.equal(found["keypoints0"], found["keypoints1"])

    def test_mask(self, model: SuperPoint) -> None:
        image = torch.rand(1, 1, 48, 64, generator=torch.Generator().manual_seed(1))
        mask = torch.zeros(1, 1, 48, 64)
        mask[..., :30] = 1
        frames, responses, _ = KorniaFeature(model, 200, threshold=0.0)(image, mask)
        assert (responses > 0).sum() > 3
        assert frames[responses > 0][:, 0, 2].max() < 31

    def test_no_descriptors(self) -> None:
        bare = build_model(ModelConfig(encoder="lite", head_channels=16)).eval()
        with pytest.raises(UserError, match="found no descriptors"):
            KorniaFeature(bare)(torch.zeros(1, 1, 16, 16))


class TestOpenCV:
    def test_key_points(self) -> None:
        ours = features(9, 0)
        keys = to_keypoints(ours)
        assert np.array_equal(cv2.KeyPoint.convert(keys), ours.keypoints)
        assert [each.response for each in keys] == pytest.approx(ours.scores)

    def test_matches(self) -> None:
        there = to_dmatches(Matches(np.array([[4, 6], [0, 2]]), np.array([0.9, 0.5])))
        assert [(each.queryIdx, each.trainIdx) for each in there] == [(4, 6), (0, 2)]
        assert there[0].distance == pytest.approx(np.sqrt(0.2))
