"""The parts of a page that need no network; the others are in `network`."""

import shlex
from collections.abc import Iterable, Sequence

from superpoint.diagnostics.report.curves import MAX_POINTS, Panel
from superpoint.diagnostics.report.facts import default_config, rich_table
from superpoint.diagnostics.report.page import Content, Section
from superpoint.diagnostics.report.panels import MAX_LAYERS, layer_panels, probe_panels
from superpoint.diagnostics.report.pictures import Picture, read_picture
from superpoint.diagnostics.report.record import SYNTHETIC, RunRecord
from superpoint.evaluation.synthetic import primitive_table, summary_table


def diagnosis(record: RunRecord) -> Section:
    """Return the doctor's findings and the range test."""
    figures, notes = read_picture(record.path / "doctor" / "lr_finder.png", "Learning-rate range test")
    content = {"record": record, "figures": figures, "notes": notes}
    return Section("diagnosis", "Diagnosis", content, "diagnosis.html")


def curves_section(panels: Sequence[Panel], record: RunRecord) -> Section:
    """Return the curves of the log, and the names of those that it lacks."""
    drawn, absent = plots(panels), [panel.title.lower() for panel in panels if not panel.shown]
    damaged = len(record.history.damaged) + record.history.truncated
    notes = [f"{damaged} damaged line{'s' * (damaged > 1)} of metrics.jsonl left out."] if damaged else []
    if not drawn:
        notes.append(record.missing.get("metrics.jsonl", "Nothing of training has been logged yet."))
        return Section("curves", "Curves", Content(notes=notes))
    notes += [f"Logged less than twice (yet): {', '.join(absent)}."] if absent else []
    text = f"Curves of more than {MAX_POINTS} points are averaged; bands reach from lowest to highest."
    return Section("curves", "Curves", Content(text, drawn, notes=notes))


def plots(panels: Iterable[Panel], heading: str = "") -> dict[str, Sequence[Panel]]:
    """Return the panels that have a value, under their heading."""
    drawn = [panel for panel in panels if panel.shown]
    return {heading: drawn} if drawn else {}


def inside(record: RunRecord) -> Section:
    """Return layers and output in the steps that were probed."""
    panels = plots(layer_panels(record), "Layers") | plots(probe_panels(record), "Output")
    text = f"Single steps, train.probe_every apart. At most {MAX_LAYERS} layers, evenly chosen from input to output."
    absent = ["The log holds no line of the event probe; train.probe_every sets how often one is written."]
    return Section("inside", "Inside the network", Content(text, panels) if panels else Content(notes=absent))


def samples_section(samples: Sequence[Picture], text: str) -> Section:
    """Return what the network is trained on."""
    absent = ["They cannot be drawn: config.yaml or the training set cannot be read."]
    return Section("samples", "Training samples", Content(text, sheet=samples) if samples else Content(notes=absent))


def evaluation_section(record: RunRecord) -> Section:
    results, title = record.evaluation, "Evaluation on synthetic shapes"
    if not results:
        command = f"superpoint evaluate synthetic --model {shlex.quote(str(record.path))}"
        absent = Content(notes=[f"{record.missing.get(SYNTHETIC, '')} This command writes it: {command}"])
        return Section("evaluation", title, absent)
    try:
        protocol, loosest = results[0]["protocol"], max(results[0]["pooled"], key=float)
        tables = [rich_table(summary_table(results)), rich_table(primitive_table(results, float(loosest)))]
        figures, notes = [], []
        for variant in dict.fromkeys(one["variant"] for one in results):
            file = record.path / "evaluation" / f"precision_recall_{variant}.png"
            found, damage = read_picture(file, f"Precision and recall, {variant}")
            figures, notes = figures + found, notes + damage
        text = (
            f"Protocol {protocol['name']}: suppression within {protocol['nms_radius']} px, probability above "
            f"{protocol['threshold']:g}, border {protocol['border']} px, matched {protocol['matching']}. "
            f"{results[0]['images']} scenes; the classical detectors calibrate the protocol. "
            "Of primitives without labels the second table counts false positives per image (fp)."
        )
        return Section("evaluation", title, Content(text, figures=figures, tables=tables, notes=notes))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # a file of another version
        notes = [f"{SYNTHETIC} cannot be read ({type(error).__name__}: {error})."]
        return Section("evaluation", title, Content(notes=notes))


def configuration(record: RunRecord, kind: type) -> Section:
    """Return what differs from the defaults of `kind`, then everything."""
    content = {"record": record, "defaults": default_config(kind)}
    return Section("configuration", "Configuration", content, "configuration.html")


def environment(record: RunRecord) -> Section:
    return Section("environment", "Environment", {"record": record}, "environment.html")
