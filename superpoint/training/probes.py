"""A look into single training steps: what every layer puts out, what reaches it, how far its weights move.

    run.log("probe", step, **probe.after_update(model))    # engine/loop.py, every `train.probe_every` steps

Between probed steps nothing is attached to the model, and a probed step computes what it would have computed anyway.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from superpoint.backbones.vgg import ConvBlock
from superpoint.engine.optimizers import gradients
from superpoint.evaluation.statistics import output_statistics


class DetectorProbe:
    """The `engine.loop.Probe` of a network with detector logits. Its numbers, of one optimiser step:
        layers.<module path>.mean, std: of the layer's output, after the ReLU if it has one.
        layers.<name>.dead: (blocks with a ReLU) share of the channels that are 0 for the whole batch.
        layers.<name>.grad_norm: of the weight's gradient, as the optimiser gets it (averaged, clipped).
        layers.<name>.weight_norm: Euclidean norm of the weight, before the step.
        layers.<name>.update_ratio: |change of the weight| / |weight|; about 1e-3 when training goes well.
        output: `evaluation.statistics.output_statistics` of the logits.
        weights_norm, grad_norm: of all trainable parameters.

    With `train.accumulate` > 1 activations and logits are of the last part. Under torch.compile the probed step runs
    uncompiled, since compiled code passes over hooks.
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []
        self._stance = False  # whether compiled code is being run uncompiled
        self._outputs: dict[str, dict[str, Tensor]] = {}
        self._logits: Tensor | None = None
        self._before: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}
        self._gradient = torch.zeros(())

    def before_step(self, model: nn.Module) -> None:
        """Attach the hooks; remove what a step that never ended has left."""
        self.detach()
        self._force_eager(True)
        for name, (module, _) in probed_layers(model).items():
            self._handles.append(module.register_forward_hook(self._layer_hook(name)))
        self._handles.append(model.register_forward_hook(self._output_hook))

    def before_update(self, model: nn.Module) -> None:
        """Keep the gradients, and the weights before they change."""
        for name, (_, weight) in probed_layers(model).items():
            self._before[name] = weight.detach().clone()
            if weight.grad is not None:
                self._gradients[name] = weight.grad.detach().norm()
        self._gradient = torch.nn.utils.get_total_norm(gradients(model))

    def after_update(self, model: nn.Module) -> dict[str, Any]:
        """Detach the hooks, and return the numbers described above."""
        layers: dict[str, dict[str, float]] = {}
        for name, (_, weight) in probed_layers(model).items():
            layers[name] = {key: float(value) for key, value in self._outputs.get(name, {}).items()}
            before = self._before.get(name)
            if before is not None:
                norm, change = float(before.norm()), float((weight.detach() - before).norm())
                layers[name] |= {
                    "grad_norm": float(self._gradients.get(name, 0.0)),
                    "weight_norm": norm,
                    "update_ratio": change / norm if norm else 0.0,
                }
        trainable = [p.detach() for p in model.parameters() if p.requires_grad]
        found = {
            "layers": layers,
            "output": {} if self._logits is None else output_statistics(self._logits),
            "weights_norm": float(torch.nn.utils.get_total_norm(trainable)),
            "grad_norm": float(self._gradient),
        }
        self.detach()
        return found

    def detach(self) -> None:
        """Leave nothing behind."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._force_eager(False)
        self._outputs, self._before, self._gradients, self._logits = {}, {}, {}, None
        self._gradient = torch.zeros(())

    def _force_eager(self, wanted: bool) -> None:
        if wanted != self._stance:
            torch.compiler.set_stance("force_eager" if wanted else "default")
            self._stance = wanted

    def _layer_hook(self, name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Tensor) -> None:
            with torch.no_grad():
                self._outputs[name] = activation_statistics(output, rectified=isinstance(module, ConvBlock))

        return hook

    def _output_hook(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        logits = output.get("logits") if isinstance(output, dict) else None
        self._logits = None if logits is None else logits.detach()


def probed_layers(model: nn.Module) -> dict[str, tuple[nn.Module, nn.Parameter]]:
    """Return by path the module and weight of each layer: `ConvBlock`, or convolution or matrix outside of one."""
    layers: dict[str, tuple[nn.Module, nn.Parameter]] = {}
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if isinstance(module, ConvBlock):
            layers[name] = module, module[0].get_parameter("weight")
            inside.update(module.children())
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and module not in inside:
            layers[name] = module, module.get_parameter("weight")
    return layers


def activation_statistics(output: Tensor, *, rectified: bool) -> dict[str, Tensor]:
    """Compute mean and std of a layer's output [B, C, ...]; if `rectified` also the share of dead channels."""
    values = output.detach()
    variance, mean = torch.var_mean(values.float(), correction=0)
    found = {"mean": mean, "std": variance.sqrt()}
    if rectified:
        axes = [axis for axis in range(values.ndim) if axis != 1]
        found["dead"] = (values.amax(dim=axes) <= 0).float().mean()
    return found
