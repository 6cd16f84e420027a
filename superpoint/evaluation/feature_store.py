"""Features of images by their content, kept in HDF5 between runs: <folder>/<hash of extractor>/<hash of image>.h5.

Files are written atomically, so several processes may share a folder; a damaged file is computed again.
"""

import hashlib
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
KEPT = 32  # images in memory: the first of a sequence, with its turned and resized copies, is in all of its pairs


class FeatureStore:
    """Features of one extractor. Called from one thread.

    Attributes:
        computed, read, rebuilt: numbers of images (rebuilt: computed in place of damaged files).
    """

    def __init__(self, folder: str | Path | None, extractor: Extractor) -> None:
        """Args: folder, None = in memory only. Raises: UserError if it cannot be made."""
        self.extractor = extractor
        digest = hashlib.sha256(extractor.key.encode()).hexdigest()[:16]
        self.folder = None if folder is None else make_folder(Path(folder) / digest)
        self.computed = self.read = self.rebuilt = 0
        self._memory: dict[str, Features] = {}

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Return the features of an image uint8 [H, W]. Raises: UserError if their file cannot be written."""
        key = content_hash(image)
        features = self._memory[key] if key in self._memory else self._load(key)
        if features is None:
            features = self.extractor(image)
            self.computed += 1
            if self.folder is not None:
                save_features(self.folder / f"{key}.h5", {NAME: features}, {"extractor": self.extractor.key})
        self._memory[key] = features
        if len(self._memory) > KEPT:
            del self._memory[next(iter(self._memory))]
        return features

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
