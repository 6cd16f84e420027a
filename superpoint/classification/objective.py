"""The objective of a classifier: cross-entropy, and the figures worth logging."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from superpoint.classification.data.dataset import ClassifierInput


@dataclass
class Tally:
    """Sums over the samples since it was last taken, on the device: reading them every step would stall a GPU."""

    samples: int = 0
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    right: Tensor = field(default_factory=lambda: torch.zeros(()))
    last: int = -1  # index of the last sample of the last batch but for its place in it: the first of that batch

    def add(self, index: int, loss: Tensor, right: Tensor, count: int) -> None:
        self.samples += count
        self.loss = self.loss.to(loss.device) + loss * count
        self.right = self.right.to(right.device) + right
        self.last = index

    def take(self) -> dict[str, float]:
        """Return mean loss and accuracy, empty without a sample, and start anew."""
        if not self.samples:
            return {}
        found = {"train_loss": float(self.loss) / self.samples, "train_accuracy": float(self.right) / self.samples}
        self.samples, self.loss, self.right = 0, torch.zeros(()), torch.zeros(())
        return found


@dataclass(frozen=True)
class ClassifierObjective:
    """Softmax cross-entropy, as `engine.loop.train` calls it.

    Dropout draws from the seed and the index of the batch's first sample: a resumed run ends with the same bits.

    Attributes:
        label_smoothing: share of the target spread evenly over all classes (Szegedy et al. 2016, section 7).
        tally: figures of training batches since the last validation.
    """

    spec: ClassifierInput
    label_smoothing: float = 0.0
    seed: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def initial_loss(self) -> float:
        return math.log(len(self.spec.classes))

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return mean loss and accuracy of image uint8 [B, C, H, W], label int64 [B], index int64 [B]."""
        label, first = batch["label"], int(batch["index"][0])
        image = self.spec.normalise(batch["image"])
        devices = [image.device] if image.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed((self.seed * 1_000_003 + first) % 2**63)
            logits = model(image)
        loss = self.cross_entropy(logits, label)
        right = (logits.detach().argmax(1) == label).float().sum()
        if model.training:
            self.tally.add(first, loss.detach(), right, len(label))
        return {"loss": loss, "accuracy": right / len(label)}

    def cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), label, label_smoothing=self.label_smoothing)
