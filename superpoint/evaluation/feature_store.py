"""Features of images by their content, kept in HDF5 between runs: <folder>/<hash of extractor>/<hash of image>.h5.

Files are written atomically, so several processes may share a folder; a damaged file is computed again.
"""

import hashlib
from collections import deque
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superpoint.data.feature_file import FeatureFile, check_features
from superpoint.data.feature_writer import save_features
from superpoint.errors import UserError
from superpoint.evaluation.extractors import Extractor
from superpoint.evaluation.views import content_hash
from superpoint.features import Features
from superpoint.files import make_folder

NAME = "image"  # of the one image in a file
WAITING = 4  # files to be written
KEPT = 32  # images in memory: the first of a sequence, with its turned and resized copies, is in all of its pairs


class FeatureStore:
    """Features of one extractor. Called from one thread.

    Attributes:
        computed, read, rebuilt: numbers of images (rebuilt: computed in place of damaged files).
        writer: writes files in the background, see `flush`; None = at once.
    """

    def __init__(self, folder: str | Path | None, extractor: Extractor) -> None:
        """Args: folder, None = in memory only. Raises: UserError if it cannot be made."""
        self.extractor = extractor
        digest = hashlib.sha256(extractor.key.encode()).hexdigest()[:16]
        self.folder = None if folder is None else make_folder(Path(folder) / digest)
        self.computed = self.read = self.rebuilt = 0
        self.writer: Executor | None = None
        self._memory: dict[str, Features] = {}
        self._writing: deque[Future[None]] = deque()

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Return the features of an image uint8 [H, W]."""
        key = content_hash(image)
        features = self._memory[key] if key in self._memory else self._load(key)
        if features is None:
            features = self.extractor(image)
            self.computed += 1
            if self.folder is not None:
                self._save(self.folder / f"{key}.h5", features)
        self._memory[key] = features
        if len(self._memory) > KEPT:
            del self._memory[next(iter(self._memory))]
        return features

    def flush(self, left: int = 0) -> None:
        """Wait until at most `left` files are still to be written. Raises: UserError if one could not be."""
        while len(self._writing) > left:
            self._writing.popleft().result()

    def _save(self, path: Path, features: Features) -> None:
        content, attributes = {NAME: features}, {"extractor": self.extractor.key}
        if self.writer is None:
            save_features(path, content, attributes)
            return
        self._writing.append(self.writer.submit(save_features, path, content, attributes))
        self.flush(WAITING)

    def _load(self, key: str) -> Features | None:
        path = None if self.folder is None else self.folder / f"{key}.h5"
        if path is None or not path.exists():
            return None
        try:
            with FeatureFile(path) as file:
                features = file.read(NAME)
                whole = not list(check_features(file))
                whole = whole and file.attributes.get("extractor") == self.extractor.key
        except UserError:
            whole, features = False, None
        if not whole or features is None:
            self.rebuilt += 1
            return None
        self.read += 1
        return features
