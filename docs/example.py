"""The pictures of README, docs/getting-started.md and docs/troubleshooting.md: runs what they say, in an empty folder.

python docs/example.py      # some minutes

Writes into docs/images: matches.jpg, heatmaps.jpg, architecture.svg, getting-started/.
"""

import os
import re
import shlex
import tempfile
from pathlib import Path

import cv2
import numpy as np

from superpoint.cli import main as superpoint
from superpoint.data.images import sample_photographs
from superpoint.data.pairs import PHOTOMETRIC, generated_pair
from superpoint.data.photometric import augment_photometric
from superpoint.visualize import save_image

HERE = Path(__file__).parent
OUT = HERE / "images/getting-started"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = "detect", "match", "reconstruct"


def run(page: Path) -> None:
    """Run the program and the commands of the page in the current folder, but those that train."""
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(block, str(page), "exec"), {})
        for line in block.splitlines() if not language else ():
            words = shlex.split(line)
            if words[0] == "superpoint" and words[1] in COMMANDS and "--model" not in words:
                command(*words[1:])


def command(*words: str) -> None:
    """Run a command in the current folder. Raises: RuntimeError if it fails."""
    try:
        superpoint(list(words))
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"superpoint {shlex.join(words)}: ended with {ended.code}") from ended


def read(path: Path | str, width: int) -> np.ndarray:
    """Read a picture as RGB of this width."""
    image = cv2.imread(str(path))
    assert image is not None, path
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.cvtColor(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def readme_picture() -> None:
    """Match a photograph of scikit-image with a view of it from another side, in the current folder."""
    photograph = dict(sample_photographs())["astronaut"]
    pair = generated_pair(photograph, "astronaut", 5, "viewpoint", (360, 480))
    save_image("first.png", pair.image_a)
    save_image("second.png", augment_photometric(pair.image_b, PHOTOMETRIC, np.random.default_rng(0)))
    command("match", "first.png", "second.png", "--model", "superpoint", "--out", "readme.png")
    save_image(OUT.parent / "matches.jpg", read("readme.png", 1200))


def diagnosis_pictures() -> None:
    """Look at the first image of `readme_picture`, and at the network."""
    command("visualize-heatmaps", "--model", "superpoint", "--image", "first.png", "--out", "heatmaps")
    save_image(OUT.parent / "heatmaps.jpg", read("heatmaps/first.png", 1200))
    command("summary", "--model", "superpoint", "--out", str(OUT.parent / "architecture.svg"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        readme_picture()
        diagnosis_pictures()
        run(HERE / "getting-started.md")
        views = [read(path, 240) for path in sorted(Path("photos").iterdir())]
        save_image(OUT / "photos.jpg", np.vstack([np.hstack(views[row : row + 4]) for row in (0, 4, 8)]))
        save_image(OUT / "keypoints.jpg", read(next(Path("pictures").glob("**/04*")), 800))
        save_image(OUT / "matches.jpg", read("matches.png", 1000))
        save_image(OUT / "model.png", read("model/model.png", 800))


if __name__ == "__main__":
    main()
