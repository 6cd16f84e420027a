"""Write feature files (layout: `superpoint.data.feature_file`), byte for byte the same for the same features.

A file is built in memory and written at once, so HDF5 never meets a full disk halfway; only a merge, which may exceed
the memory, is written by HDF5 itself.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5f, h5g, h5p  # type: ignore[attr-defined]  # compiled, unknown to type checkers

from superpoint.data.feature_file import FORMAT, VERSION, FeatureFile, checksum
from superpoint.errors import UserError, one_line
from superpoint.features import Features
from superpoint.files import write_atomically

SAME_NAME = "another image of this name came first"
CHUNK = 1 << 20  # bytes by which a file in memory grows
_NUMBERS = itertools.count()  # of files in memory


def save_features(
    path: str | Path, features: Mapping[str, Features], attributes: Mapping[str, Any] | None = None
) -> None:
    """Write a feature file, whole or not at all.

    Args:
        features: by image path relative to the image root, POSIX; each is written in the frame of the file.
        attributes: of the file (text or numbers); "format", "version" and "images" are added, and "frame": "stored" (as
            COLMAP and hloc expect) and "model", the network that all are of, unless they are there.

    Raises: ValueError for a bad name (see `check_name`) and as `Features.in_frame`, UserError if the file cannot be
        written.
    """
    networks = {each.network for each in features.values()}
    known = {"model": networks.pop()} if len(networks) == 1 and "" not in networks else {}
    attributes = {"frame": "stored", **known, **(attributes or {})}
    # HDF5 refuses a second file of a name that is open, also in memory; threads may be at it at once.
    with _create(b"features-%d" % next(_NUMBERS), in_memory=True) as file:
        made: set[str] = set()
        for name, item in features.items():
            _add(file, name, item.in_frame(attributes["frame"]), made)
        _describe(file, len(features), attributes)
        file.flush()
        content = file.id.get_file_image()
    write_atomically(Path(path), lambda target: target.write(content))


def merge_features(parts: Iterable[str | Path], out: str | Path, attributes: Mapping[str, Any]) -> None:
    """Copy the features of several files into one, in order, whole or not at all.

    Images whose name came before are left out; "skipped" names them.

    Raises: UserError if a part is damaged or of another frame, or the file cannot be written.
    """
    attributes = {"frame": "stored", **attributes}
    skipped: dict[str, str] = json.loads(attributes.get("skipped", "{}"))

    def write(temporary: str) -> None:
        names: set[str] = set()
        made: set[str] = set()
        try:
            with _create(temporary.encode()) as file:
                for part in parts:
                    with FeatureFile(part) as source:
                        if source.frame != attributes["frame"]:
                            raise UserError(f"{part}: found the {source.frame} frame, expected {attributes['frame']}")
                        for name in source.names():
                            if name in names:
                                skipped[name] = SAME_NAME
                                continue
                            names.add(name)
                            _copy(source.group(name), _group(file, name, made), part)
                _describe(file, len(names), {**attributes, "skipped": json.dumps(skipped)})
        except (OSError, RuntimeError) as error:
            # A full disk is a RuntimeError where HDF5 meets it while it closes the file.
            raise _system_error(error) or error from error

    # HDF5 opens the temporary file by its name a second time; what it has written is flushed and renamed with it.
    write_atomically(Path(out), lambda target: write(target.name))


def check_name(name: str) -> None:
    """Raise ValueError unless `name` can be a group: relative, POSIX, UTF-8, without empty, "." and ".." parts."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r}: the name is not valid UTF-8") from None
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r}: found a name with an empty, '.' or '..' part, expected a relative path")
    if parts[-1] in ("keypoints", "scores", "descriptors", "image_size"):
        raise ValueError(f"{name!r}: a dataset of the feature file has that name")


def _create(path: bytes, *, in_memory: bool = False) -> h5py.File:
    """A new HDF5 file without time stamps; the format of HDF5 1.8 has a third of the overhead per group."""
    access, creation = h5p.create(h5p.FILE_ACCESS), h5p.create(h5p.FILE_CREATE)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_LATEST)
    creation.set_obj_track_times(False)
    if in_memory:
        access.set_fapl_core(CHUNK, False)
    return h5py.File(h5f.create(path, h5f.ACC_TRUNC, creation, access))


def _group(file: h5py.File, name: str, made: set[str]) -> h5py.Group:
    """Make group `name` and its missing parents without the time stamps that h5py sets."""
    plain = h5p.create(h5p.GROUP_CREATE)
    plain.set_obj_track_times(False)
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        path = "/".join(parts[:depth])
        if path not in made:
            made.add(path)
            h5g.create(file.id, path.encode(), gcpl=plain)
    group = file[name]
    assert isinstance(group, h5py.Group)
    return group


def _add(file: h5py.File, name: str, features: Features, made: set[str]) -> None:
    check_name(name)
    arrays: dict[str, np.ndarray] = {
        "keypoints": np.ascontiguousarray(features.keypoints),
        "scores": np.ascontiguousarray(features.scores),
    }
    if features.descriptors is not None:
        arrays["descriptors"] = np.ascontiguousarray(features.descriptors.T, np.float16)
    if features.image_size != (0, 0):
        arrays["image_size"] = np.asarray(features.image_size, np.int64)
    group = _group(file, name, made)
    for key, array in arrays.items():
        group.create_dataset(key, data=array, track_times=False)
    if features.uncertainty is not None:
        group["keypoints"].attrs["uncertainty"] = float(features.uncertainty)
    if features.views is not None:
        group.attrs["views"] = np.int32(features.views)
    if features.orientation != 1:
        group.attrs["orientation"] = np.int32(features.orientation)
    if features.warp is not None:
        group.attrs["warp"] = features.warp
    group.attrs["crc32"] = checksum(arrays)


def _copy(source: h5py.Group, target: h5py.Group, part: str | Path) -> None:
    try:
        for key, item in source.items():
            if isinstance(item, h5py.Dataset):
                source.copy(item, target, name=key)
        target.attrs.update(source.attrs)
    except (KeyError, OSError, RuntimeError) as error:
        if _system_error(error) is not None:
            raise
        raise UserError(f"{part}: damaged at '{source.name}' ({one_line(error)}); remove it and resume") from error


def _system_error(error: Exception) -> OSError | None:
    """The operating system's error in a message of HDF5, if there is one."""
    number = re.search(r"errno = (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def _describe(file: h5py.File, images: int, attributes: Mapping[str, Any]) -> None:
    file.attrs.update({"format": FORMAT, "version": VERSION, "images": images, **attributes})
