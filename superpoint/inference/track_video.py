"""Stage track: keypoints followed through a video, drawn."""

from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.text import Text

from superpoint.config.inference import InferenceConfig
from superpoint.data.bands import check_colours
from superpoint.engine.display import Display
from superpoint.engine.interrupt import StopRequest
from superpoint.errors import UserError
from superpoint.files import make_folder, refuse_inputs
from superpoint.inference.pictures import track_picture
from superpoint.inference.see import load_detector, see
from superpoint.inference.tracking import PointTracker
from superpoint.inference.video import FrameSource, VideoFile
from superpoint.visualize import save_image

LONG = 4  # times the positions drawn: the length of the brightest tracks


@dataclass(frozen=True)
class TrackResult:
    """Tracks of at least two frames; frames per second with drawing and writing; the signal that stopped it."""

    frames: int
    tracks: int
    mean_length: float
    fps: float
    signal: int | None = None


def track_keypoints(
    source: str,
    out: str | Path,
    config: InferenceConfig,
    *,
    max_distance: float = 0.7,
    keep: int = 5,
    frames: int = 0,
    codec: str | None = None,
) -> TrackResult:
    """Follow keypoints through the frames of `source` (see `FrameSource`) and write the frames with their tracks.

    Args:
        out: a video (.mp4, .avi), or a folder for PNGs.
        max_distance, keep: see `PointTracker`.
        frames: stop after that many; 0 = at the end. Ctrl-C leaves a complete file.
        codec: four characters; None = what fits the ending.

    Raises: UserError for a source without frames, an `out` that is the source, a network without descriptors, or an
        unknown codec or ending.
    """
    refuse_inputs(out, [source])
    tracker = PointTracker(max_distance, keep)
    console = Console()
    with closing(FrameSource(source)) as stream, StopRequest() as stop:
        video = VideoFile(out, stream.fps, codec) if Path(out).suffix else None
        folder = make_folder(out) if video is None else None
        model = load_detector(config, described=True)
        check_colours(model.channels)
        total = min(stream.total or frames, frames or stream.total)
        lengths: dict[int, int] = {}  # of each track so far
        count, begin = 0, perf_counter()
        with video or nullcontext(), Display(total, unit="frames") as display:
            for frame in islice(stream, frames or None):
                if stop.signal is not None:
                    break
                seen = see(model, frame, config, f"frame {count + 1}")
                try:
                    tracks = tracker.update(seen.features)
                except ValueError as error:
                    raise UserError(f"{source}: frame {count + 1}: {error}") from error
                count += 1
                lengths |= {track.number: track.length for track in tracks}
                followed = sum(track.length > 1 for track in tracks)
                title = f"frame {count}: {len(tracks)} keypoints, {followed} followed (yellow: {LONG * keep} frames)"
                picture = track_picture(seen.image, tracks, LONG * keep, title)
                if video is not None:
                    video.add(picture)
                if folder is not None:
                    save_image(folder / f"{count:06d}.png", picture)
                display.update(count, {"keypoints": len(tracks), "followed": followed})
    if not count and stop.signal is None:
        reason = next(iter(stream.skipped.values()), "")
        raise UserError(f"{source}: found no frame that can be read{f' ({reason})' if reason else ''}")
    for name, reason in stream.skipped.items():
        console.print(Text(f"skipped {name}: {reason}", style="bold yellow"), soft_wrap=True)
    long = [length for length in lengths.values() if length > 1]
    mean = sum(long) / max(1, len(long))
    result = TrackResult(count, len(long), mean, count / max(perf_counter() - begin, 1e-9), stop.signal)
    console.print(
        f"{count} frames, {result.fps:.1f} FPS ({model.network}); {result.tracks} tracks of at least 2 frames, "
        f"{mean:.1f} frames long on average, the longest {max(long, default=0)}",
        soft_wrap=True,
    )
    if count:
        console.print(f"{'stopped; ' if stop.signal else ''}written: {out}", soft_wrap=True)
    return result
