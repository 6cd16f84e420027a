"""Which page of a TIFF is the image, and what its tags say."""

import io
import math
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL.TiffImagePlugin import PREFIXES, ImageFileDirectory_v2

from superpoint.geometry.orientation import TURNS

ORIENTATION, NODATA, NEW_SUBFILE, SUBFILE = 0x0112, 42113, 254, 255  # tags; the first also of EXIF
PHOTOMETRIC, SAMPLES, EXTRA = 262, 277, 338  # tags
GREY, RGB = (0, 1), 2  # photometric interpretations


class Page(NamedTuple):
    """The page of a TIFF that is read: the first that is neither a reduced copy nor a mask. Others have one page."""

    number: int = 0
    orientation: int = 1
    nodata: float | None = None  # value that stands for "no data" (GeoTIFF)
    is_tiff: bool = True
    bands: bool = False  # several samples that are no colours, or one beside RGB that is no alpha


def page_of(path: str | Path, content: bytes | None) -> Page:
    """Return the page to read of a file, or of its `content`; one that cannot be read is none of a TIFF."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _page_of(path, content)
    except Exception:  # damaged tags raise nearly anything
        return Page(is_tiff=False)


def _page_of(path: str | Path, content: bytes | None) -> Page:
    with open(path, "rb") if content is None else io.BytesIO(content) as file:
        header = file.read(8)
        if header[:4] not in PREFIXES:
            return Page(is_tiff=False)
        pages, places = [], set()
        tags = ImageFileDirectory_v2(header + (file.read(8) if 43 in header[2:4] else b""))
        while tags.next and tags.next not in places:
            places.add(tags.next)
            file.seek(tags.next)
            tags.load(file)
            turn, nodata = valid_orientation(tags.get(ORIENTATION)), _number(tags.get(NODATA))
            pages.append(Page(len(pages), turn, nodata, bands=_bands(tags)))
            if not tags.get(NEW_SUBFILE, 0) & 0b101 and tags.get(SUBFILE) != 2:
                return pages[-1]
        return pages[0] if pages else Page()


def _bands(tags: ImageFileDirectory_v2) -> bool:
    samples, kind, extra = tags.get(SAMPLES, 1), tags.get(PHOTOMETRIC), tags.get(EXTRA, (1,))
    grey = kind in GREY and (samples > 2 or (samples == 2 and 0 in extra))
    return grey or (kind == RGB and samples > 3 and 0 in extra)


def valid_orientation(value: object) -> int:
    """Return an orientation, 1 for a value that is none."""
    return value if isinstance(value, int) and value in TURNS else 1


def _number(text: object) -> float | None:
    """The finite number in a text, if there is one."""
    try:
        value = float(str(text.decode() if isinstance(text, bytes) else text).strip(" \0"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
