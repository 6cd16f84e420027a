"""Sections of the report that are pictures: curves, the network from inside, heatmaps, training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from superpoint.diagnostics.report.curves import HEIGHT, WIDTH, Panel, draw_panel
from superpoint.diagnostics.report.page import (
    Html,
    color_bar,
    data_uri,
    details,
    escape,
    figure,
    image_uri,
    legend,
    missing,
    paragraph,
    picture,
    png_figure,
    section,
    swatch,
    table,
    tag,
)
from superpoint.diagnostics.report.panels import layer_maps, probe_panels, training_panels
from superpoint.diagnostics.report.pictures import Output, RunPictures
from superpoint.diagnostics.report.record import RunRecord

# What `output_statistics` measures, in words; its docstring says how.
STATISTICS = {
    "dustbin": "mean probability of the dustbin",
    "detections": "points an image, probability > 0.015",
    "sharpness": "share of a peak in its 5x5 window; 1 = one pixel, 0.04 = flat",
    "border": "density of points within 8 px of the border; 1 = as elsewhere",
    "fullest": "share of points in the commonest row or column of the cell; 0.125 = even",
    "cell_pattern": "share of the variation inside a cell that all cells have in common; 1 = all look the same",
    "input_sensitivity": "share of the output's variance that the input explains; 0 = input ignored",
    "cell_scale": "range of logsumexp over the cells, nats",
    "logit_max": "largest absolute logit",
    "naive_exp_overflow": "share of cells where a naive exp() in fp32 overflows or vanishes",
}


def panel_figure(panel: Panel, *, named: bool = True) -> Html:
    """A panel with its title and, if it is `named`, what its curves are called."""
    uri = data_uri(draw_panel(panel).encode(), "image/svg+xml")
    notes: list[Html] = []
    shown = [curve for curve in panel.curves if curve.ends()]
    if named and len(shown) > 1:
        notes.append(legend((swatch(curve.color, curve.dashes), curve.name) for curve in shown))
    if panel.note:
        notes.append(tag("span", panel.note, class_="note"))
    return figure(panel.title, picture(uri, panel.description(), width=WIDTH, height=HEIGHT), *notes)


def panel_grid(panels: Sequence[Panel], *, named: bool = True) -> Html:
    return tag("div", *(panel_figure(panel, named=named) for panel in panels if panel.drawn), class_="panels")


def curves_section(records: Sequence[RunRecord]) -> Html:
    """Everything that the log holds a curve of, and the names of what it does not hold."""
    panels = training_panels(records)
    notes = [missing(f"{record.label}: {damage(record)}") for record in records if record.damaged]
    if not any(panel.drawn for panel in panels):
        reasons = {
            record.missing.get("metrics.jsonl", "Nothing of training has been logged yet.") for record in records
        }
        return section("curves", "Curves", *notes, *(missing(reason) for reason in sorted(reasons)))
    absent = [panel.title.lower() for panel in panels if not panel.drawn]
    if absent:
        notes.append(missing(f"Not logged (yet): {', '.join(absent)}."))
    if len(records) > 1:
        text = paragraph("Means over 1 / 25 of the curve.", kind="note")
        return section("curves", "Curves", run_legend(records), text, panel_grid(panels, named=False), *notes)
    text = (
        "Thin: every line of the log, as a band from least to largest where there are more than 400. "
        "Bold: mean over 1 / 25 of the curve."
    )
    return section("curves", "Curves", paragraph(text, kind="note"), panel_grid(panels), *notes)


def damage(record: RunRecord) -> str:
    lines = "line" if record.damaged == 1 else "lines"
    return f"{record.damaged} damaged {lines} of metrics.jsonl left out."


def run_legend(records: Sequence[RunRecord]) -> Html:
    """Which curve is which run, for all panels of a comparison."""
    curves = [curve for panel in training_panels(records)[:1] for curve in panel.curves]
    return paragraph(legend((swatch(curve.color, curve.dashes), curve.name) for curve in curves))


def probe_section(record: RunRecord) -> Html:
    """Layers and output in the steps that were probed."""
    panels = probe_panels([record])
    maps = layer_maps(record)
    if not panels and not maps:
        text = missing("The log holds no line of the event probe; train.probe_every sets how often one is written.")
        return section("inside", "Inside the network", text)
    figures = []
    for title, svg, words in maps:
        height = int(svg_height(svg))
        image = picture(data_uri(svg.encode(), "image/svg+xml"), words, width=WIDTH, height=height)
        figures.append(figure(title, image))
    text = "Single steps, train.probe_every apart. Layers: a row each, input on top; colours as their bar says."
    content = [paragraph(text, kind="note")]
    if figures:
        content += [tag("h3", "Layers"), tag("div", *figures, class_="panels")]
    if panels:
        content += [tag("h3", "Output"), panel_grid(panels)]
    return section("inside", "Inside the network", *content)


def svg_height(svg: str) -> float:
    """Height of one of our SVG documents in CSS pixels; matplotlib writes points."""
    start = svg.index('height="') + len('height="')
    return float(svg[start : svg.index("pt", start)]) * 96 / 72


def output_section(record: RunRecord, pictures: RunPictures) -> Html:
    return section("output", "Heatmaps", *output_content(record, pictures))


def output_content(record: RunRecord, pictures: RunPictures) -> list[Html]:
    """A row of pictures for each subject and the figures of the output."""
    content = [missing(note) for note in pictures.notes]
    if not pictures.outputs:
        return content or [missing("No weights to show.")]
    content.append(paragraph("Weights: ", pictures.weights, "."))
    content.append(output_legend())
    content += [output_row(output) for output in pictures.outputs]
    content.append(statistics_table(pictures.statistics))
    strip = record.path / "strip.png"  # of stage overfit
    if strip.is_file():
        content.append(png_figure(strip, "From the first step to the last", "Heatmaps of one image over the steps"))
    return content


def output_legend() -> Html:
    return paragraph(
        tag("span", "Crosses: labels."),
        tag("span", "Rings: detections (probability > 0.015, none within 4 px of a stronger one)."),
        tag("span", "Probability: ", color_bar("viridis", "0", "1", power=0.5)),
        tag("span", "Dustbin: ", color_bar("cividis", "0", "1")),
        kind="legend",
    )


def output_row(output: Output, name: str = "") -> Html:
    """The pictures of a subject beside each other, two by two where there is little room."""
    title = name or output.subject.name
    images = [
        tag("figure", tag("figcaption", kind), _image(image, f"{title}: {kind}. {output.facts}."))
        for kind, image in output.pictures
    ]
    head = tag("p", tag("strong", title), " ", tag("span", f"{output.facts}.", class_="note"))
    return tag("div", head, tag("div", *images, class_="strip"), class_="subject")


def statistics_table(columns: Mapping[str, Mapping[str, float]]) -> Html:
    """Figures of `output_statistics`, a column a group of images or a run."""
    keys = [key for key in STATISTICS if any(key in found for found in columns.values())]
    rows = [
        [STATISTICS[key], *(f"{found[key]:.3g}" if key in found else "-" for found in columns.values())] for key in keys
    ]
    if not rows:
        return escape("")
    return table(["output over these images", *columns], rows, numeric=range(1, len(columns) + 1))


def samples_section(pictures: RunPictures) -> Html:
    """What the network is trained on."""
    if not pictures.samples:
        text = "They cannot be drawn: config.yaml or the training set cannot be read."
        return section(
            "samples",
            "Training samples",
            missing(text),
        )
    text = (
        "Samples from where the curriculum ends, augmented as in training. Crosses: labels as they are encoded. "
        "Darkened: cells the loss ignores."
    )
    images = [
        tag("figure", tag("figcaption", title), _image(image, f"Training {title}."))
        for title, image in pictures.samples
    ]
    return section("samples", "Training samples", paragraph(text), tag("div", *images, class_="sheet"))


def folded(title: object, *content: Html) -> Html:
    return details(title, *content)


def _image(image, alt: str) -> Html:
    height, width = image.shape[:2]
    return picture(image_uri(image), alt, width=width, height=height)
