"""The pictures of README and docs/getting-started.md: runs what the page says, in an empty folder.

python docs/example.py      # some minutes; writes docs/images/matches.jpg and docs/images/getting-started/
"""

import contextlib
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
                status = 0
                try:
                    superpoint(words[1:])
                except SystemExit as ended:
                    status = ended.code
                if status:
                    raise RuntimeError(f"{line}: ended with {status}")


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
    with contextlib.suppress(SystemExit):
        superpoint(["match", "first.png", "second.png", "--model", "superpoint", "--out", "readme.png"])
    save_image(OUT.parent / "matches.jpg", read("readme.png", 1200))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        readme_picture()
        run(HERE / "getting-started.md")
        views = [read(path, 240) for path in sorted(Path("photos").iterdir())]
        save_image(OUT / "photos.jpg", np.vstack([np.hstack(views[row : row + 4]) for row in (0, 4, 8)]))
        save_image(OUT / "keypoints.jpg", read(next(Path("pictures").glob("**/04*")), 800))
        save_image(OUT / "matches.jpg", read("matches.png", 1000))
        save_image(OUT / "model.png", read("model/model.png", 800))


if __name__ == "__main__":
    main()
