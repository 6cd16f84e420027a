"""Stage export-model: a trained network as a file for another runtime, checked against torch."""

from pathlib import Path

from rich.console import Console

from superpoint.backends.network import output_names
from superpoint.config.export import ExportConfig
from superpoint.errors import UserError
from superpoint.export.formats import write_model
from superpoint.export.numbers import photograph_pairs, views
from superpoint.export.parity import MIN_COSINE, Parity, measure_parity
from superpoint.files import write_json
from superpoint.models.weights import load_weights, model_from_state


def export_model(source: str | Path, config: ExportConfig, out: str | Path) -> list[Parity]:
    """Write the network of `source` to `out`, compare it with torch in fp32, and write FILE.parity.json.

    With fewer bits they are compared on held-out photographs, too.

    Args:
        source: see `models.load_network`.

    Returns: one `Parity` per precision.
    Raises: UserError for missing weights or photographs, a place that cannot be written, or other keypoints or
        descriptors than torch's; the file stays then.
    """
    out, form = Path(out), config.form
    state, model_config, _ = load_weights(source)
    model = model_from_state(state, model_config, source).eval()
    some, others = [], []
    if config.numbers != "fp32":
        some, others = photograph_pairs(config.calibrate, model.channels, config.size)
    metadata = {"source": Path(source).name, "model_config": model_config}
    write_model(model, out, config, metadata, [each.numpy() for each in views(some)])
    found = measure_parity(model, out, config, views(others))
    report = {
        "file": out.name,
        "format": form,
        "outputs": output_names(model, form),
        "decoder": config.decoder,
        "parity": [each.row() for each in found],
    }
    beside = out.with_name(f"{out.name}.parity.json")
    write_json(beside, report)
    console = Console()
    for each in found:
        console.print(_line(each), soft_wrap=True)
    size = sum(path.stat().st_size for path in (out.iterdir() if out.is_dir() else [out]))
    console.print(f"{form}: {out} ({size / 1e6:.1f} MB), {beside.name} beside it", soft_wrap=True)
    for each in found:
        if not each.passed:
            raise UserError(f"{out}: another network than torch's: {_line(each)}")
    return found


def _line(parity: Parity) -> str:
    torch_points, file_points = parity.keypoints
    cosine = "" if parity.cosine is None else f"; descriptors: mean cosine {parity.cosine:.4f} (at least {MIN_COSINE})"
    return (
        f"{parity.runtime} {parity.precision}: {parity.agreement:.2%} of the keypoints within {parity.within:g} px of "
        f"torch's in fp32 (at least {parity.required:.1%}); {torch_points} keypoints in torch, {file_points} here"
        f"{cosine}"
    )
