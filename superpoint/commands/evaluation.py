"""Commands that measure a trained network or look at what it detects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superpoint.commands.options import ConfigFile, Overrides, PrintConfig, Run, command_group
from superpoint.config import DecodeConfig, dump_config, load_config
from superpoint.errors import UserError

app = command_group()
evaluate_app = command_group()
app.add_typer(evaluate_app, name="evaluate", help="Measure a trained network.")


@evaluate_app.command("synthetic")
def evaluate_synthetic_command(
    run: Run,
    images: Annotated[int, typer.Option(min=9, help="Scenes, each clean and noisy.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; default <run>/evaluation.")] = None,
) -> None:
    """Average precision and localisation error on synthetic shapes, beside FAST, Harris and Shi-Tomasi."""
    from superpoint.evaluation.evaluate_synthetic import evaluate_run

    evaluate_run(run, images=images, out=out)


@evaluate_app.command("repeatability")
def evaluate_repeatability_command(
    methods: Annotated[
        list[str],
        typer.Argument(
            help="runs, weights or their names, adapted:NETWORK, fast, harris, shi, sift, orb, random",
            show_default=False,
        ),
    ],
    images: Annotated[Path | None, typer.Option(help="Folder; default: the photographs of scikit-image.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Most photographs; 0 = all.")] = 100,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of each kind a photograph.")] = 2,
    homographies: Annotated[int, typer.Option(min=2, help="Views of adapted: detectors.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the pairs.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path("runs/repeatability"),
) -> None:
    """Repeatability under known homographies and photometric change, on pairs generated from photographs."""
    from superpoint.evaluation.evaluate_repeatability import evaluate_repeatability

    evaluate_repeatability(
        methods, images=images, limit=limit, pairs=pairs, homographies=homographies, seed=seed, out=out
    )


@evaluate_app.command("pairs")
def evaluate_pairs_command(
    overrides: Overrides = None,
    extractors: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas: runs, weights or their names (superpoint:SOURCE), sift, rootsift, orb, akaze, "
            "fast, harris, shi, aliked:FILE, disk:FILE, xfeat:FILE, keynet-hardnet:FILE; each may end in +sift or "
            "+rootsift, the descriptors of its points. Default: a network that ships with this package, sift, orb."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Sequences in the layout of HPatches or Oxford.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Photographs to make pairs from; default those of scikit-image.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="dev, paper or fullres; key=value changes single values.")] = "dev",
    out: Annotated[Path, typer.Option(help="Folder for tables, curves, gallery and features.")] = Path("runs/pairs"),
    gallery: Annotated[int, typer.Option(min=0, max=100, help="Best and worst pairs to draw, of each method.")] = 3,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep features in <out>/features.")] = True,
    print_config: PrintConfig = False,
) -> None:
    """Matching, homographies and repeatability on image pairs, networks and classical methods side by side."""
    from superpoint.config.evaluation import EvaluatePairsConfig, protocol_overrides

    settings = load_config(EvaluatePairsConfig, None, [*protocol_overrides(protocol), *(overrides or [])])
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    from superpoint.evaluation.evaluate_pairs import evaluate_pairs

    if extractors is None:
        from superpoint.evaluation.methods import default_methods

        names = default_methods()
    else:
        names = [name.strip() for name in extractors.split(",") if name.strip()]
    evaluate_pairs(settings, names, data=data, images=images, out=out, gallery=gallery, cache=cache)


@app.command("detect-samples")
def detect_samples_command(
    run: Run,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; default <run>/detections.")] = None,
) -> None:
    """Draw detections on the photographs that scikit-image ships; overrides are keys of decode (threshold=0.1)."""
    settings = load_config(DecodeConfig, None, overrides or [])
    from superpoint.inference.detect_samples import detect_samples

    detect_samples(run, settings, out)


@app.command("visualize-heatmaps")
def visualize_heatmaps_command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN_OR_WEIGHTS...", help="several are compared", show_default=False)
    ],
    image: Annotated[list[Path] | None, typer.Option(help="A photograph; may be repeated.")] = None,
    index: Annotated[list[int] | None, typer.Option(min=0, help="A training sample; may be repeated.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Points of the one --image: text, CSV, .npy or .npz.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figures; default <run>/heatmaps.")] = None,
    longest: Annotated[int, typer.Option(min=16, help="Photographs are shrunk to this longer side, in px.")] = 320,
    worst: Annotated[int, typer.Option(min=0, max=60, help="Cells to enlarge.")] = 6,
) -> None:
    """Heatmap, dustbin, logits and wrong cells on scenes and photographs, of one checkpoint or several side by side."""
    from superpoint.diagnostics.heatmaps.visualize import visualize_heatmaps

    visualize_heatmaps(
        sources, images=image or (), indices=index or (), labels=labels, out=out, longest=longest, worst=worst
    )


@app.command("summary")
def summary_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN_OR_WEIGHTS | KEY=VALUE...]",
            help="a trained network, or model.encoder=lite and the like over --config",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
    height: Annotated[int, typer.Option(help="Of the image, in px.")] = 120,
    width: Annotated[int, typer.Option(help="Of the image, in px.")] = 160,
    out: Annotated[Path | None, typer.Option(help="Draw the architecture to this .svg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Layers, output shapes, parameters and FLOPs of a network; with --out its architecture drawn."""
    given = arguments or []
    sources = [one for one in given if "=" not in one or Path(one).exists()]
    overrides = [one for one in given if one not in sources]
    if len(sources) > 1:
        raise UserError(f"summary: found {len(sources)} networks ({', '.join(sources)}), expected one")
    if sources and (overrides or config is not None):
        raise UserError(f"summary: found {sources[0]} and a configuration, expected one of the two")
    from superpoint.diagnostics.summary.show import network_config, show_summary

    model = None if sources else network_config(config, overrides)
    show_summary(sources[0] if sources else None, model=model, height=height, width=width, out=out, as_json=as_json)
