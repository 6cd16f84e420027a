"""Sections of the report that are text and tables: heading, findings, evaluation, configuration, environment."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from superpoint.diagnostics.report.curves import Curve, Panel
from superpoint.diagnostics.report.page import (
    Html,
    details,
    join,
    missing,
    paragraph,
    png_figure,
    section,
    table,
    tag,
)
from superpoint.diagnostics.report.record import RunRecord, ap_keys, date, default_config, duration, moment, number
from superpoint.evaluation.synthetic import precision_recall_curves, primitive_table, summary_table

SIGNS = {"PASS": "✓", "WARN": "!", "FAIL": "✗"}  # beside the colour, for those who do not see it
SEVERITY = ("FAIL", "WARN")


def state_badge(record: RunRecord, now: float) -> Html:
    word, _ = record.state(now)
    return tag("span", word, class_=f"badge {word}")


def status_badge(status: str) -> Html:
    return tag("span", f"{SIGNS.get(status, '?')} {status}", class_=f"badge {status}")


def heading(record: RunRecord, now: float) -> Html:
    """Name, state and the figures one asks for first."""
    _, sentence = record.state(now)
    facts = [f"step {record.step:,}", f"{duration(record.elapsed)} of training"]
    if record.environment.get("date"):
        facts.append(f"last session begun {date(record.environment['date'])}")
    facts.append(f"report made {moment(now)}")
    tiles = join(
        tag("div", tag("dt", name), tag("dd", value, *([" ", tag("small", aside)] if aside else [])))
        for name, value, aside in key_figures(record)
    )
    return tag(
        "header",
        tag("h1", record.label, " ", state_badge(record, now)),
        paragraph(sentence),
        paragraph(" · ".join(facts), kind="note"),
        tag("dl", tiles, class_="tiles"),
    )


def key_figures(record: RunRecord) -> list[tuple[str, str, str]]:
    """(name, value, unit or place) of what sums a run up; values are those of the last line that has them."""
    figures = [("diagnosis", verdict(record, passes=False), "")] if record.findings else []
    figures.append(("training loss", _figure(number(record.last("train").get("loss")), "{:.3f}"), "nats"))
    validation = record.last("validate")
    if "loss" in validation:
        figures.append(("validation loss", _figure(number(validation["loss"]), "{:.3f}"), "nats"))
    if record.best:
        figures.append((f"best {record.selected_by}", f"{record.best[0]:.3f}", f"at step {record.best[1]:,}"))
    scores = ap_keys(record)
    widest = max((float(eps) for _, _, eps in scores), default=0.0)
    for key, variant, eps in scores:
        if float(eps) == widest:
            error = number(validation.get(f"{variant}/localisation@{eps}"))
            figures.append((f"AP@{eps} {variant}", _figure(number(validation.get(key)), "{:.3f}"), ""))
            if math.isfinite(error):
                figures.append((f"error@{eps} {variant}", f"{error:.2f}", "px"))
    rates = [rate for rate in record.curve("train", "img_per_s")[1] if math.isfinite(rate)]
    if rates:
        figures.append(("throughput", f"{sorted(rates)[len(rates) // 2]:.0f}", "images/s"))
    return figures


def verdict(record: RunRecord, *, passes: bool = True) -> str:
    """1 FAIL, 1 WARN, 13 PASS; with `passes` false the last only if it is all."""
    found = [str(finding.get("status")) for finding in record.findings.get("findings", [])]
    counts = {status: found.count(status) for status in ("FAIL", "WARN", "PASS")}
    if not passes and counts["FAIL"] + counts["WARN"]:
        del counts["PASS"]
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no findings"


def doctor_section(record: RunRecord) -> Html:
    """Findings, the worst first, and the range test."""
    return section("diagnosis", "Diagnosis", *doctor_content(record))


def doctor_content(record: RunRecord) -> list[Html]:
    command = tag("code", f"superpoint doctor {shlex.quote(str(record.path))}")
    if not record.findings:
        reason = record.missing.get("doctor/findings.json", "")
        return [missing(f"{reason} The checks that name the usual causes of a failing run are made by ", command, ".")]
    numbered = list(enumerate(record.findings["findings"], 1))
    worst = [pair for status in SEVERITY for pair in numbered if pair[1].get("status") == status]
    rest = [pair for pair in numbered if pair not in worst]
    content = [paragraph(verdict(record), f". {_made_at(record)}")]
    if worst:
        content.append(_findings_table(worst))
    if rest:
        content.append(details(f"{len(rest)} check{'s' * (len(rest) > 1)} that passed", _findings_table(rest)))
    curve = record.path / "doctor" / "lr_finder.png"
    if curve.is_file():
        shown = png_figure(curve, "Learning-rate range test", "Loss over the learning rate of a range test")
        content.append(details("Learning-rate range test", shown))
    return content


def _findings_table(numbered: Sequence[tuple[int, Mapping[str, Any]]]) -> Html:
    rows = []
    for place, finding in numbered:
        text = [tag("p", finding.get("evidence", ""))]
        for name, key in (("Likely cause", "cause"), ("Remedy", "remedy")):
            if finding.get(key):
                text.append(tag("p", tag("b", f"{name}: "), finding[key]))
        rows.append([place, tag("code", finding["check"]), status_badge(str(finding.get("status"))), join(text)])
    return table(["no.", "check", "status", "evidence, likely cause and remedy"], rows, kind="findings")


def _made_at(record: RunRecord) -> str:
    step = record.findings.get("step")
    if not isinstance(step, int):
        return ""
    later = f"; the run has gone on to step {record.step:,} since" if record.step > step else ""
    return f"Made at step {step:,}{later}."


def evaluation_section(record: RunRecord, draw: Any) -> Html:
    """Tables and precision-recall curves of evaluation/synthetic.json. `draw`: panel -> figure."""
    return section("evaluation", "Evaluation on synthetic shapes", *evaluation_content(record, draw))


def evaluation_content(record: RunRecord, draw: Any) -> list[Html]:
    results = record.evaluation
    command = tag("code", f"superpoint evaluate synthetic {shlex.quote(str(record.path))}")
    if not results:
        return [missing(record.missing.get("evaluation/synthetic.json", ""), " It is made by ", command, ".")]
    try:
        widest = max(results[0]["pooled"], key=float)
        tables = [rich_table(summary_table(results)), rich_table(primitive_table(results, float(widest)))]
        panels = precision_recall_panels(results, float(widest))
        protocol = results[0]["protocol"]
        words = (
            f"Protocol {protocol['name']}: suppression within {protocol['nms_radius']} px, probability above "
            f"{protocol['threshold']:g}, border {protocol['border']} px, matched {protocol['matching']}. "
            f"{results[0]['images']} scenes; the classical detectors calibrate the protocol. "
            "Of primitives without labels the second table counts false positives an image (fp)."
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # a file of another version
        return [missing(f"evaluation/synthetic.json cannot be read ({type(error).__name__}: {error}).")]
    return [paragraph(words), tag("div", *(draw(panel) for panel in panels), class_="panels"), *tables]


def precision_recall_panels(results: Sequence[Mapping[str, Any]], eps: float) -> list[Panel]:
    """A panel a variant: (recall, precision) of every detector."""
    panels = []
    for variant in dict.fromkeys(result["variant"] for result in results):
        chosen = [result for result in results if result["variant"] == variant]
        curves = [
            Curve(name.removesuffix(f", {variant}"), recall, precision, index=index, steps=True)
            for index, (name, (recall, precision)) in enumerate(precision_recall_curves(chosen, eps).items())
        ]
        panels.append(
            Panel(
                f"Precision and recall, {variant}, matches within {eps:g} px", "precision", curves,
                x_label="recall", x_end=1.0, limits=(0.0, 1.02),
            )
        )  # fmt: skip
    return panels


def rich_table(shown: Any) -> Html:
    """A Rich table as HTML, with its title."""
    headers = [str(column.header) for column in shown.columns]
    rows = list(zip(*(column.cells for column in shown.columns), strict=True))
    numeric = [index for index, column in enumerate(shown.columns) if column.justify == "right"]
    return join([tag("h3", str(shown.title)), table(headers, rows, numeric=numeric)])


def config_section(record: RunRecord) -> Html:
    return section("configuration", "Configuration", *config_content(record))


def config_content(record: RunRecord) -> list[Html]:
    """What differs from the defaults, then everything."""
    if not record.config:
        return [missing(record.missing.get("config.yaml", "config.yaml is empty."))]
    defaults = default_config(record.config)
    differing = [
        (key, value, defaults.get(key, "no such key in this version"))
        for key, value in record.config.items()
        if key != "run" and value != defaults.get(key)
    ]
    content = [paragraph("All as in the defaults.")]
    if differing:
        rows = [[tag("code", key), tag("code", value), tag("code", default)] for key, value, default in differing]
        content = [table(["differs from the defaults", "this run", "default"], rows, kind="config")]
    rows = [[tag("code", key), tag("code", value)] for key, value in record.config.items()]
    absent = [key for key in defaults if key not in record.config]
    if absent:
        names = join([tag("code", key) for key in absent], ", ")
        content.append(paragraph("Keys of this version that the run does not know: ", names, "."))
    return [*content, details(f"All {len(rows)} keys", table(["key", "value"], rows, kind="config"))]


def environment_section(record: RunRecord) -> Html:
    return section("environment", "Environment", *environment_content(record))


def environment_content(record: RunRecord) -> list[Html]:
    """Versions, machine and code of the last session; a row for each session."""
    found = record.environment
    if not found:
        return [missing(record.missing.get("environment.json", "environment.json is empty."))]
    known = found.get("versions")
    versions = {"python": found.get("python")} | (known if isinstance(known, dict) else {})
    rows: list[list[object]] = [["run folder", str(record.path)]]
    machine = ", ".join(str(found[key]) for key in ("cpu", "platform") if found.get(key))
    rows.append(["machine", f"{machine}; {found.get('cores', '?')} cores"])
    rows.append(["versions", join([f"{k} {v}" for k, v in versions.items()], ", ")])
    earlier = found.get("earlier_sessions")
    sessions = [one for one in [*(earlier if isinstance(earlier, list) else []), found] if isinstance(one, dict)]
    commands = [
        [index, date(one.get("date", "")), _revision(one.get("git")), tag("code", _command(one.get("argv")))]
        for index, one in enumerate(sessions, 1)
    ]
    return [
        table([], rows, kind="facts"),
        table(["session", "began", "code", "command"], commands, kind="sessions"),
    ]


def _revision(git: Any) -> str:
    if not isinstance(git, Mapping) or not git.get("revision"):
        return "no git revision"
    return f"git {str(git['revision'])[:10]}{' with changes' if git.get('dirty') else ''}"


def _command(argv: Any) -> str:
    return " ".join(shlex.quote(str(part)) for part in argv) if isinstance(argv, list) else ""


def _figure(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "-"
