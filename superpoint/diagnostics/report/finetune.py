"""The page that a fine-tuning ends with: before and after on photographs that were held out, and how to go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from superpoint.config import FinetuneConfig
from superpoint.diagnostics.report.facts import Table
from superpoint.diagnostics.report.page import Content, Section, render
from superpoint.diagnostics.report.pictures import read_picture
from superpoint.evaluation.tables import format_cell
from superpoint.files import read_text, write_text
from superpoint.training.finetune import RESULT, verdict
from superpoint.training.pair_validation import DRAWN
from superpoint.training.superpoint import COLUMNS

NAMES = {
    **{f"correct@{eps}": f"homographies right within {eps} px" for eps in (1, 3, 5)},
    "auc@5": "homographies, area under the curve to 5 px",
    **{f"mma@{eps}": f"matches right within {eps} px" for eps in (1, 3)},
    **{f"repeatability@{eps}": f"keypoints found again within {eps} px" for eps in (1, 3)},
    "localisation": "distance of keypoints found again, px (less is better)",
    "matches": "matches per pair",
}


def write_finetune_page(config: FinetuneConfig) -> Path:
    """Write and return report.html in the folder of a complete fine-tuning. It needs no other file.

    Raises: UserError if it cannot be written.
    """
    folder = Path(config.run)
    result = json.loads(read_text(folder / RESULT))
    figures, notes = [], []
    for when, title in (("before", "The weights you began with"), ("after", "The new weights")):
        picture, damage = read_picture(folder / f"matches_{when}.png", title, quality=80)
        figures, notes = figures + picture, notes + damage
    text = (
        f"Means over generated pairs of the photographs held out of training ({result['held_out']}). In "
        "brackets the 95 % bootstrap interval over these photographs; the verdict is of a paired test over them."
    )
    use = [
        f"superpoint match first.jpg second.jpg --model {config.run} --out matches.png",
        f'model = superpoint.load_model("{config.run}")  # after: import superpoint',
        'first, second = model.detect(["first.jpg", "second.jpg"]); matches = superpoint.match(first, second)',
    ]
    sections = [
        Section(
            "pairs", "Matches on your photographs", {"figures": figures, "notes": notes, "drawn": DRAWN}, "beside.html"
        ),
        Section("figures", "Figures", Content(text, tables=[change_table(result)])),
        Section("use", "Use the new weights", use, "use.html"),
    ]
    heading: dict[str, Any] = {
        "name": folder.name,
        "verdict": verdict(result),
        "weights": config.weights,
        "images": config.images,
    }
    heading["training"] = (folder / "training/report.html").exists()
    target = folder / "report.html"
    write_text(target, render("finetune.html", sections=sections, **heading))
    return target


def change_table(result: Mapping[str, Any]) -> Table:
    """Return one row per figure of finetune.json: before, after, the change with its interval, SIFT."""
    rows = []
    for key, form in COLUMNS.items():
        change = result["change"].get(key, {})
        told = format_cell(change.get("difference"), f"+{form}")
        if change.get("interval") and result["held_out"] > 1:
            low, high = (format_cell(each, f"+{form}") for each in change["interval"])
            told = f"{told} [{low}, {high}]"
        figures = (format_cell(result[name].get(key), form) for name in ("before", "after"))
        rows.append(
            [NAMES[key], *figures, told, change.get("verdict", "-"), format_cell(result["sift"].get(key), form)]
        )
    return Table(["figure", "before", "after", "change [95 % interval]", "verdict", "SIFT"], rows)
