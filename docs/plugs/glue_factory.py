"""A network of ours as a model of glue-factory; a copy on the path is `extractor: {name: glue_factory}`."""

from typing import Any, ClassVar

import torch
from gluefactory.models.base_model import BaseModel  # pyright: ignore[reportMissingImports]

import superpoint
from superpoint.interop.local_feature import KorniaFeature


class SuperPointTrained(BaseModel):  # pyright: ignore[reportGeneralTypeIssues]
    """Keypoints [B, K, 2], in glue-factory's frame, scores and descriptors; empty slots have the score 0."""

    default_conf: ClassVar = {"weights": "superpoint-lite", "max_num_keypoints": 1024, "trainable": False}
    required_data_keys: ClassVar = ["image"]

    def _init(self, conf: Any) -> None:
        self.local = KorniaFeature(superpoint.load_model(conf.weights).network, conf.max_num_keypoints)
        self.set_initialized()

    def _forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        image = data["image"]
        mask = torch.ones_like(image[:, :1])
        for each, (width, height) in zip(mask, data.get("image_size", torch.zeros(0, 2)).int().tolist(), strict=False):
            each[:, height:] = each[:, :, width:] = 0  # glue-factory pads images to one size
        frames, scores, descriptors = self.local(image, mask)
        return {"keypoints": frames[..., 2] + 0.5, "keypoint_scores": scores, "descriptors": descriptors}

    def loss(self, pred: Any, data: Any) -> Any:
        """Raise: the network is not trained here."""
        raise NotImplementedError
