"""Stage reconstruct: photographs in, a 3D model out. Each step writes its file whole; what is there is not repeated.

plan.json                    settings and photographs, fixed by the first session
features.h5, matches.h5      in the layout of hloc
database.db                  COLMAP's, verified
sparse/                      COLMAP's model, of all photographs that fit together
points.ply, statistics.json, model.png, model.html
"""

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.config import LabellingConfig
from superpoint.config.inference import MatchingConfig, ReconstructConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.data.sources.source import Files, open_source
from superpoint.engine.display import Display
from superpoint.engine.resume import config_differences
from superpoint.errors import UserError, one_line
from superpoint.features import Features
from superpoint.files import make_folder, read_text, write_json
from superpoint.labelling.export import export_detections
from superpoint.labelling.shards import digest
from superpoint.lock import FolderLock
from superpoint.matching import Matches
from superpoint.matching.matchers import check_matches
from superpoint.models import load_network
from superpoint.models.weights import model_hash
from superpoint.reconstruction.database import write_database
from superpoint.reconstruction.mapping import Statistics, load_pycolmap, map_images, set_cameras, statistics, verify
from superpoint.reconstruction.match_features import match_features
from superpoint.reconstruction.match_file import read_all_matches
from superpoint.reconstruction.page import write_page, write_picture
from superpoint.reconstruction.pairs import Pair
from superpoint.reconstruction.scene import scene_of

MACHINE = ("model", "backend", "precision", "device")  # where it runs; the hash of the weights stands for the model
ATTEMPTS = 3  # seeds of the mapper, until all photographs are in; the best model counts
OWN = (  # what this stage writes, and --overwrite removes
    "plan.json", "features.h5", "matches.h5", "database.db", "sparse", "points.ply", "statistics.json", "model.png",
    "model.html", "features.h5.shards", "features.h5.summary.json", "matches.h5.shards",
)  # fmt: skip


def reconstruct(
    inputs: Sequence[str],
    out: str | Path,
    config: ReconstructConfig,
    labelling: LabellingConfig,
    *,
    overwrite: bool = False,
) -> dict[str, Any] | int:
    """Make a model of the photographs `inputs` (see `data.sources.open_source`) in the folder `out`.

    Return what statistics.json holds, or the number of the signal that stopped the work.

    Args:
        labelling: how features are found.
        overwrite: begin anew.

    Raises: UserError without pycolmap, for fewer than two photographs, a network without descriptors, a folder made
        of other photographs or settings or damaged, photographs that do not overlap, a matcher of another network.
    """
    colmap = load_pycolmap()
    source = open_source(inputs)
    if not isinstance(source, Files):
        raise UserError(f"images: found {inputs[0]}, expected image files: COLMAP reads them for the colours")
    if len(source) < 2:
        raise UserError(f"images: found one photograph, {source.names[0]}, expected two or more of one place")
    network = load_network(config.model)
    if network.descriptor is None:
        raise UserError(f"--model: found {config.model}, a detector without descriptors, expected superpoint or alike")
    model = model_hash(network)
    check_matches(config.matcher, model)
    folder = make_folder(out)
    lock = FolderLock(folder)
    lock.claim("makes a model in it")
    with closing(source):
        try:
            if overwrite:
                _clear(folder)
            _check_plan(folder, config, model, source)
            return _steps(colmap, folder, source, config, labelling)
        finally:
            lock.release()


def _steps(
    colmap: Any, folder: Path, source: Files, config: ReconstructConfig, labelling: LabellingConfig
) -> dict[str, Any] | int:
    features, matches, database, model = (folder / name for name in OWN[1:5])
    if not features.exists():
        names = [str(source.root / name) for name in source.names]
        signal = export_detections(labelling, names, features, root=source.root, resume=True).signal
        if signal is not None:
            return signal
    if not matches.exists():
        matching = MatchingConfig(**{each.name: getattr(config, each.name) for each in fields(MatchingConfig)})
        signal = match_features(features, matches, matching, resume=True)
        if signal is not None:
            return signal
    with FeatureFile(features) as file:
        names, skipped = file.names(), file.skipped()
        if not database.exists():
            found = {name: file.read(name, descriptors=False) for name in names}
            _build(database, found, read_all_matches(matches, found), source, config)
    if not model.exists():
        models = _map(database, folder, source, config, len(names))
        parts = len(models)
        unfinished = make_folder(folder / "sparse.tmp")
        models[0].write(unfinished)
        write_json(unfinished / "parts.json", {"parts": parts, "files": _checksums(unfinished)})
        os.replace(unfinished, model)
    try:  # COLMAP's reader goes on for ever in a damaged file
        told = json.loads(read_text(model / "parts.json"))
        if told["files"] != _checksums(model):
            raise ValueError("its files are not those that were written")
        made, parts = colmap.Reconstruction(model), told["parts"]
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise UserError(f"{model}: not a readable model of COLMAP ({one_line(error)}); remove it and go on") from error
    made.update_point_3d_errors()
    numbers = statistics([made] * parts, len(names))
    return _publish(folder, made, numbers, names, skipped, config)


def _checksums(model: Path) -> dict[str, int]:
    return {path.name: zlib.crc32(path.read_bytes()) for path in sorted(model.glob("*.bin"))}


def _check_plan(folder: Path, config: ReconstructConfig, model: str, source: Files) -> None:
    """Write the plan of a new folder; refuse to go on with another one."""
    path = folder / "plan.json"
    plan = {key: value for key, value in asdict(config).items() if key not in MACHINE} | {"weights": model}
    plan["photographs"] = f"{len(source)} ({digest(source.describe())})"
    if not path.exists():
        if any((folder / name).exists() for name in OWN):
            raise UserError(f"{folder}: found results without plan.json, expected an empty folder; or --overwrite")
        write_json(path, plan)
        return
    try:
        different = config_differences(json.dumps(json.loads(read_text(path))), json.dumps(plan))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); --overwrite begins anew") from error
    for key, was, now in different:
        raise UserError(f"{folder}: was begun with {key} {was}, found {now}; take another --out, or --overwrite")


def _build(
    database: Path,
    features: dict[str, Features],
    matches: dict[Pair, Matches],
    source: Files,
    config: ReconstructConfig,
) -> None:
    """Write the database, with cameras and verified pairs, whole or not at all."""
    unfinished = database.with_name("database.tmp.db")
    for leftover in unfinished.parent.glob(f"{unfinished.name}*"):
        leftover.unlink()
    try:
        write_database(unfinished, features, matches, shared_camera=config.shared_camera)
    except ValueError as error:  # sizes that differ with --shared-camera, or matches of other features
        raise UserError(f"{database.parent}: {one_line(error)}") from error
    set_cameras(unfinished, source.root, shared=config.shared_camera)
    Console(stderr=True).print("verifying the pairs")
    verify(unfinished, seed=config.seed)
    os.replace(unfinished, database)


def _map(database: Path, folder: Path, source: Files, config: ReconstructConfig, images: int) -> list[Any]:
    """Return the models of the best attempt. Raises: UserError if there is none."""
    best: list[Any] = []
    work = folder / "mapping.tmp"
    for attempt in range(ATTEMPTS):
        shutil.rmtree(work, ignore_errors=True)
        make_folder(work)
        with Display(images, unit=f"photographs of attempt {attempt + 1}") as display:
            models = map_images(
                database,
                work,
                images=source.root,
                mapper=config.mapper,
                seed=config.seed + attempt,
                progress=display.update,
            )
        best = max(best, models, key=_size)
        if best and best[0].num_reg_images() == images:
            break
    shutil.rmtree(work, ignore_errors=True)
    if not best:
        raise UserError(
            f"{folder}: COLMAP found no two photographs to begin a model with, expected ones of one place that overlap"
        )
    return best


def _size(models: list[Any]) -> tuple[int, int]:
    return (models[0].num_reg_images(), models[0].num_points3D()) if models else (0, 0)


def _publish(
    folder: Path, model: Any, numbers: Statistics, names: list[str], skipped: dict[str, str], config: ReconstructConfig
) -> dict[str, Any]:
    seen = {image.name: image.num_points3D for image in model.images.values() if image.has_pose}
    report = {
        **numbers._asdict(),
        "mapper": config.mapper,
        "points_per_photograph": seen,
        "not_registered": [name for name in names if name not in seen],
        "skipped": skipped,
    }
    scene = scene_of(model)
    unfinished = folder / "points.tmp.ply"
    model.export_PLY(unfinished)
    os.replace(unfinished, folder / "points.ply")
    write_json(folder / "statistics.json", report)
    title = f"{numbers.registered} of {numbers.images} photographs, {numbers.points} points"
    write_picture(folder / "model.png", scene, title)
    write_page(folder / "model.html", scene, report, title)
    table = Table(title="Model", show_header=False)
    table.add_row("photographs", f"{numbers.registered} of {numbers.images} registered")
    table.add_row("points", f"{numbers.points}, seen in {numbers.track_length:.2f} photographs on average")
    table.add_row("reprojection error", f"{numbers.error:.2f} px of the photographs")
    console = Console()
    console.print(table)
    for kind in ("not_registered", "skipped"):
        if report[kind]:
            console.print(Text(f"{kind.replace('_', ' ')}: {', '.join(report[kind])}"), soft_wrap=True)
    if numbers.models > 1:
        console.print(f"COLMAP found {numbers.models} parts that do not join; this is the largest")
    console.print(f"model: {folder / 'sparse'}; page: {folder / 'model.html'}", soft_wrap=True)
    return report


def _clear(folder: Path) -> None:
    for path in (folder / name for name in reversed(OWN)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
