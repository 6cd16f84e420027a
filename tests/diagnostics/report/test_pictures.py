import base64

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from superpoint.diagnostics.heatmaps.detector_output import Subject
from superpoint.diagnostics.report.pictures import Picture, show_output
from superpoint.errors import UserError


class Planted(nn.Module):
    """Finds a point in channel 0 of the first cell, nowhere else."""

    def __init__(self, value: float = 12.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = torch.zeros(len(image), 65, image.shape[2] // 8, image.shape[3] // 8)
        logits[:, 64] = self.value
        logits[:, 0, 0, 0] = 2 * self.value
        return {"logits": logits}


def test_output_of_a_network_on_an_image_of_odd_size() -> None:
    points = np.array([[0.0, 0.0], [17.0, 3.0]], np.float32)
    subject = Subject("odd", np.full((21, 30), 90, np.uint8), points)
    output = show_output(Planted().eval(), subject)
    titles = [picture.title for picture in output.pictures]
    assert titles == ["input and labels", "probability", "dustbin, by cell", "detections"]
    assert {picture.image.shape for picture in output.pictures} == {(210, 300, 3)}
    assert "30 x 21 px; 1 detections" in output.facts
    assert "of 2 cells with a label 1 right, 0 misplaced, 1 missed; 0 false" in output.facts
    heat = output.pictures[1].image
    assert heat[5, 5].tolist() in ([253, 231, 37], [253, 231, 36])  # viridis at 1
    assert heat[100, 100].tolist() == [54, 54, 54]  # the image, dimmed, where it is 0
    assert show_output(Planted().eval(), Subject("bare", subject.image)).pictures[0].title == "input"
    with pytest.raises(UserError, match="NaN"):
        show_output(Planted(float("nan")).eval(), subject)


@pytest.mark.parametrize(("quality", "kind", "error"), [(90, "image/jpeg", 6), (0, "image/png", 1)])
def test_a_picture_comes_back_from_its_uri(quality: int, kind: str, error: int) -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[:, :12] = (200, 30, 90)
    head, data = Picture("a", image, quality).uri.split(";base64,")
    back = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert head == f"data:{kind}"
    assert back is not None
    assert np.abs(back[:, 2:10].astype(int) - (200, 30, 90)).max() < error
    assert np.abs(back[:, 14:].astype(int)).max() < error
