"""Stage demo: a page in Gradio that by default serves this machine only, and loads nothing from elsewhere."""

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Any

from superpoint.config.inference import InferenceConfig
from superpoint.data.pairs import generated_pair
from superpoint.demo.comparison import SIDE, Settings, compare, example_images, markdown, read_upload
from superpoint.errors import UserError
from superpoint.inference.detector import FeatureDetector, load_model
from superpoint.matching import MATCHERS, VIEWS
from superpoint.matching.matchers import check_matches
from superpoint.visualize import save_image

TITLE = "SuperPoint: keypoints and matches of two images"
KEPT = (3600, 3600)  # seconds between two sweeps of what was uploaded, and the age from which it goes
MAX_FILE = "200mb"


def import_gradio() -> Any:
    """Return Gradio, told to report nothing. Raises: UserError if it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio  # of an extra
    except ImportError as error:
        raise UserError("the Python package 'gradio' is not installed: pip install 'superpoint[demo]'") from error
    return gradio


def build_page(model: FeatureDetector, matcher: str = "mutual") -> Any:
    """Return the page (`gradio.Blocks`) of a model, on which `matcher` is chosen at first.

    Images come in as files: Gradio's image component would spoil those of 16 bits.
    """
    gradio = import_gradio()
    defaults, methods = Settings(method=matcher), dict.fromkeys([*MATCHERS, matcher])
    with contextlib.suppress(UserError):  # no pretrained matcher is for this network
        check_matches("lightglue", model.network.hash)
        methods["lightglue"] = None

    def run(
        first: str | None, second: str | None, threshold: float, radius: float, points: float, method: str, sift: bool,
        resize: float, views: str,
    ) -> list[Any]:  # fmt: skip
        settings = Settings(threshold, int(radius), int(points), method, sift, int(resize), views)
        try:
            images = [
                read_upload(path, which, settings.resize, model.channels)
                for path, which in ((first, "first"), (second, "second"))
            ]
            found = compare(images[0], images[1], model, settings)
        except (UserError, ValueError) as error:
            raise gradio.Error(str(error), duration=None, print_exception=False) from error
        beside = gradio.update(value=found.sift, visible=found.sift is not None)
        return [found.network, beside, found.keypoints, found.heatmaps, markdown(found.rows)]

    def rerun(first: str | None, second: str | None, *settings: Any) -> list[Any]:
        """Answer a slider: there is nothing to show before both images are there."""
        return run(first, second, *settings) if first and second else [gradio.skip()] * len(outputs)

    def example(name: str) -> list[str]:
        """Write two views of an example into Gradio's folder; return their paths."""
        pair = generated_pair(examples[name], name, 5, "viewpoint", (360, 480))
        folder = Path(page.GRADIO_CACHE) / "examples"
        views = ("first", pair.image_a), ("second", pair.image_b)
        return [str(save_image(folder / f"{name}_{which}.png", view)) for which, view in views]

    def picture(name: str) -> Any:
        # A label would cover the titles inside the pictures.
        buttons = ["download", "fullscreen"]
        return gradio.Image(
            interactive=False, show_label=False, elem_id=name, elem_classes="picture", format="png", buttons=buttons
        )

    examples = example_images()
    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=KEPT) as page:
        gradio.Markdown(
            f"# {TITLE}\nModel: {model.name}, in {model.network}. Images stay on the machine that runs this page."
        )
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                gradio.Markdown("Upload two images, or try an example:")
                with gradio.Row():
                    tries = [(name, gradio.Button(name, size="sm", min_width=80)) for name in examples]
                first = gradio.File(label="First image", height=110, elem_id="first")
                second = gradio.File(label="Second image", height=110, elem_id="second")
                threshold = gradio.Slider(0.001, 0.3, defaults.threshold, step=0.001, label="Threshold, probability")
                radius = gradio.Slider(1, 16, defaults.nms_radius, step=1, label="Non-maximum suppression, px")
                points = gradio.Slider(16, 4096, defaults.max_keypoints, step=16, label="Max keypoints per image")
                method = gradio.Radio(list(methods), value=defaults.method, label="Matcher")
                resize = gradio.Slider(*SIDE, defaults.resize, step=32, label="Longest side looked at, px")
                views = gradio.Radio(list(VIEWS), value=defaults.views, label="Turned and resized views tried")
                sift = gradio.Checkbox(defaults.sift, label="Compare with SIFT")
                button = gradio.Button("Match", variant="primary", elem_id="match")
            with gradio.Column(scale=3, min_width=280):
                table = gradio.Markdown(elem_id="figures")
                with gradio.Tab("Matches"):
                    network = picture("network")
                    theirs = picture("sift")
                with gradio.Tab("Keypoints"):
                    drawn = picture("keypoints")
                with gradio.Tab("Heatmaps"):
                    heat = picture("heatmaps")
        settings = [threshold, radius, points, method, sift, resize, views]
        inputs, outputs = [first, second, *settings], [network, theirs, drawn, heat, table]
        once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "match", "api_name": False}
        button.click(run, inputs, outputs, **once)
        gradio.on([each.change for each in settings], rerun, inputs, outputs, trigger_mode="always_last", **once)
        for name, each in tries:
            loaded = each.click(partial(example, name), None, [first, second], api_name=False)
            loaded.then(run, inputs, outputs, **once)
    return page


def serve(
    model: FeatureDetector,
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    matcher: str = "mutual",
    block: bool = True,
) -> Any:
    """Show the page until Ctrl-C (`block`), or return it running; `.close()` ends it.

    Without `port` it listens at the first free one from 7860.

    Raises: UserError if the port is taken, or Gradio is not installed.
    """
    gradio = import_gradio()
    page = build_page(model, matcher)
    # Fonts of the system: Gradio's own themes fetch theirs from Google.
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, share=False, quiet=True, show_error=True, prevent_thread_lock=True,
            max_file_size=MAX_FILE, footer_links=[], ssr_mode=False, enable_monitoring=False,
            theme=gradio.themes.Default(**fonts),
            # The buttons of a picture stand above it, not on its title.
            css="#figures table {display: block; overflow-x: auto; white-space: nowrap}"
            " .picture img {margin-top: 44px}",
        )  # fmt: skip
    except OSError as error:
        where = f"port {port}" if port else "a port from 7860 on"
        raise UserError(f"demo: cannot listen at {host}, {where}: {' '.join(str(error).split())[:160]}") from error
    if not block:
        return page
    print(f"demo: {address} (Ctrl-C ends it)", flush=True)
    page.block_thread()
    return page


def run_demo(
    config: InferenceConfig, *, host: str = "127.0.0.1", port: int | None = None, matcher: str = "mutual"
) -> None:
    """Show the page until Ctrl-C.

    Raises: UserError if Gradio is not installed, there is no such model, or the matcher is for another network.
    """
    import_gradio()  # before the model, which takes a second
    model = load_model(config.model, config.device, config.backend, config.precision)
    check_matches(matcher, model.network.hash)
    serve(model, host, port, matcher=matcher)
