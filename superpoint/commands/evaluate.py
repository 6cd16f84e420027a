"""Commands that measure networks, and studies that compare small ones."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from superpoint.classification.config import ClassifierConfig
from superpoint.commands.command import EVALUATE, Outcome, command, subgroup
from superpoint.commands.options import Images, MaskFolder, Model, Momenta, Out, Rates, check_path, numbers, words
from superpoint.config import load_config
from superpoint.config.evaluation import (
    EvaluatePairsConfig,
    EvaluateRepeatabilityConfig,
    EvaluateSfmConfig,
    EvaluateSyntheticConfig,
    load_pairs_config,
)
from superpoint.errors import UserError, check_one_of

evaluate = subgroup("evaluate", EVALUATE, "Measure networks beside classical methods.")
study = subgroup("study", EVALUATE, "Compare grids of small classifiers; after a stop, give the command again.")


@command("synthetic", evaluate, config=EvaluateSyntheticConfig, as_json=True)
def evaluate_synthetic_command(
    settings: EvaluateSyntheticConfig,
    model: Model,
    out: Annotated[Path | None, Option(help="Folder for the tables; default <run>/evaluation.")] = None,
) -> Outcome:
    """Measure average precision and localisation error on synthetic shapes, beside FAST, Harris and Shi-Tomasi.

    superpoint evaluate synthetic --model runs/lite scenes=200
    """
    from superpoint.evaluation.evaluate_synthetic import evaluate_run

    return Outcome(evaluate_run(model, images=settings.scenes, out=out))


@command("repeatability", evaluate, config=EvaluateRepeatabilityConfig, as_json=True)
def evaluate_repeatability_command(
    settings: EvaluateRepeatabilityConfig,
    extractors: Annotated[
        str,
        Option(
            help="Separated by commas: networks (as --model elsewhere), adapted:MODEL, fast, harris, shi, sift, orb, "
            "random"
        ),
    ],
    images: Images = None,
    masks: MaskFolder = None,
    out: Annotated[Path, Option(help="Folder for the tables.")] = Path("runs/repeatability"),
) -> Outcome:
    """Measure repeatability under known homographies and photometric change, on pairs generated from photographs.

    superpoint evaluate repeatability --extractors magicpoint,adapted:magicpoint,harris,random --images photos
    """
    from superpoint.evaluation.evaluate_repeatability import evaluate_repeatability

    return Outcome(evaluate_repeatability(settings, words(extractors), images=images, masks=masks, out=out))


def pairs_config(file: str | None, overrides: list[str], options: dict[str, Any]) -> EvaluatePairsConfig:
    """Return the protocol, refusing two sources of pairs."""
    if options["data"] is not None and options["images"] is not None:
        raise UserError("--images: found beside --data, expected one of the two")
    return load_pairs_config(file, overrides)


@command("pairs", evaluate, config=pairs_config, as_json=True, continues=True)
def evaluate_pairs_command(
    settings: EvaluatePairsConfig,
    extractors: Annotated[
        str,
        Option(
            help="Separated by commas: networks (as --model elsewhere), adapted:MODEL, sift, rootsift, orb, "
            "fast, harris, shi; each may end in +sift or +rootsift, the descriptors of its "
            "keypoints, and in +views, a search for turned and resized views."
        ),
    ] = "superpoint-lite,sift,orb",
    data: Annotated[Path | None, Option(help="Sequences in the layout of HPatches or Oxford."), check_path] = None,
    images: Images = None,
    masks: MaskFolder = None,
    out: Annotated[Path, Option(help="Folder for tables, curves and features.")] = Path("runs/pairs"),
    cache: Annotated[bool, Option("--cache/--no-cache", help="Keep features in <out>/features.")] = True,
) -> Outcome:
    """Measure matching, homographies and repeatability on image pairs, networks beside classical methods.

    superpoint evaluate pairs --extractors superpoint-lite,sift,orb --images photos
    superpoint evaluate pairs --extractors runs/superpoint,sift --data datasets/hpatches/images protocol=paper
    """
    from superpoint.evaluation.evaluate_pairs import evaluate_pairs

    names = words(extractors)
    evaluate_pairs(settings, names, data=data, images=images, masks=masks, out=out, cache=cache)
    return Outcome(out / "pairs.json")


@command("sfm", evaluate, config=EvaluateSfmConfig, inputs=True, as_json=True, continues=True)
def evaluate_sfm_command(
    settings: EvaluateSfmConfig,
    images: list[str],
    extractors: Annotated[str, Option(help="As of `evaluate pairs`.")] = "superpoint,superpoint-lite,sift,rootsift",
    out: Annotated[Path, Option(help="Folder for the table and the features.")] = Path("runs/sfm"),
) -> Outcome:
    """Measure 3D models that COLMAP makes of photographs of one place, networks beside SIFT and RootSIFT.

    superpoint evaluate sfm photos --extractors superpoint-lite,sift
    """
    from superpoint.evaluation.evaluate_sfm import evaluate_sfm

    return Outcome(evaluate_sfm(settings, words(extractors), images, out))


def grid_config(name: str, file: str | None, overrides: list[str], options: dict[str, Any]) -> ClassifierConfig:
    """Return the recipe; without a file that of the study `name`."""
    return load_config(ClassifierConfig, file or f"classifier/study-{name}", overrides)


@command("mnist", study, config=partial(grid_config, "mnist"), continues=True)
def study_mnist_command(
    settings: ClassifierConfig, out: Out = None, rates: Rates = "0.01,0.03,0.1,0.3", momenta: Momenta = "0,0.9"
) -> Outcome:
    """Compare a fully connected network with two convolutions on 1000 digits, by learning rate and momentum.

    superpoint study mnist data.train=t10k-images-idx3-ubyte.gz
    """
    grid = numbers("--rates", rates), numbers("--momenta", momenta)
    from superpoint.classification.study import mnist_cells

    return _run_study("mnist", mnist_cells(settings, *grid), out)


@command("depth", study, config=partial(grid_config, "depth"), continues=True)
def study_depth_command(
    settings: ClassifierConfig,
    out: Out = None,
    depths: Annotated[str, Option(help="Layers: 8, 14, 20, 32, 44, 56 or 110.")] = "20,56",
) -> Outcome:
    """Compare plain with residual networks of the same depth on small images.

    superpoint study depth data.train=photos epochs=10
    """
    from superpoint.backbones.classifiers import SMALL_DEPTHS
    from superpoint.classification.study import depth_cells

    chosen = numbers("--depths", depths)
    for depth in chosen:
        check_one_of("--depths", f"{depth:g}", [str(known) for known in SMALL_DEPTHS])
    return _run_study("depth", depth_cells(settings, [int(depth) for depth in chosen]), out)


@command("ingredients", study, config=partial(grid_config, "ingredients"), continues=True)
def study_ingredients_command(settings: ClassifierConfig, out: Out = None) -> Outcome:
    """Show what batch norm, initialisation and augmentation do for a small network.

    superpoint study ingredients data.train=animals epochs=15
    """
    from superpoint.classification.study import ingredient_cells

    return _run_study("ingredients", ingredient_cells(settings), out)


def _run_study(name: str, cells: list[Any], out: Path | None) -> Outcome:
    from superpoint.classification.study import run_study

    found = run_study(name, cells, out or Path(f"runs/study-{name}"))
    return Outcome(signal=found if isinstance(found, int) else None)
