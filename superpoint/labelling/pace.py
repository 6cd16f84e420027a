"""Labels within a budget: by how many views, and of how many photographs, measured on some of them."""

import itertools
import sys
import time
from dataclasses import replace

from superpoint.budget import Budget, format_minutes
from superpoint.config import LabellingConfig
from superpoint.data.masks import Masks
from superpoint.data.sources.archives import ImageSource
from superpoint.errors import UserError
from superpoint.labelling.labeller import labeller, read
from superpoint.labelling.memory import NoRoomError
from superpoint.models.superpoint import SuperPoint

FEWEST = 10  # views; rather than by fewer, fewer photographs are labelled
LEAST = 8  # images, however short the time: fewer are not enough to train on
PROBED = 2  # photographs that are timed, after one that warms the network up
PROBE_SHARE = 0.1  # of the time, after which no other photograph is timed
TRIED = 20  # photographs, should the first be unreadable


def fit_labelling(
    config: LabellingConfig,
    model: SuperPoint,
    source: ImageSource,
    masks: Masks | None,
    budget: Budget,
    processes: int = 1,
) -> tuple[LabellingConfig, int]:
    """Return settings with as many views as the time is enough for, and for how many images it is; print both.

    The number of images is 0 for tars: only reading them can tell how many they hold.

    Args: processes, which share the images.
    """
    wanted = config.adaptation.homographies
    views = min(wanted, FEWEST)
    timed = _probe(_of_views(config, views), model, source, masks, PROBE_SHARE * budget.left)
    seconds = timed / max(views, 1)  # of a view, or of plain detection
    total, count = len(source), len(source)
    if not seconds or not total:
        return config, total
    left = processes * budget.left
    if wanted > 1:
        views = min(wanted, max(views, int(left / (total * seconds))))
    each = seconds * max(views, 1)
    count = min(total, max(LEAST, int(left / each)))
    by = f" by {views} views" + (f" instead of {wanted}" if views < wanted else "") if wanted > 1 else ""
    chosen = f"{count} of {total} images (in even steps)" if count < total else f"{total} images"
    print(
        f"labels of {chosen}{by}: about {format_minutes(count * each / processes)} at {each:.2g} s per image",
        file=sys.stderr,
    )
    return _of_views(config, views), count


def _of_views(config: LabellingConfig, views: int) -> LabellingConfig:
    return replace(config, adaptation=replace(config.adaptation, homographies=views))


def _probe(
    config: LabellingConfig, model: SuperPoint, source: ImageSource, masks: Masks | None, enough: float
) -> float:
    """Return the mean seconds that an image takes, 0 if none could be read."""
    label, times = labeller(model, config), []
    for item in itertools.islice(source.read(0, config.shard_size), TRIED):
        began = time.monotonic()
        try:
            label(read(item, config, masks), item.name)
        except (UserError, NoRoomError, MemoryError, ValueError):  # the export itself will say why it is skipped
            continue
        times.append(time.monotonic() - began)
        if len(times) > PROBED or (len(times) > 1 and sum(times) > enough):
            break
    timed = times[1:] or times
    return sum(timed) / len(timed) if timed else 0.0
