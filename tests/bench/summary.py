"""Medians of a results file of scripts/bench, and of its ratios: summary.py results.jsonl

Runs are interleaved, so a ratio is taken between the figures of the same round,
and the median of these is printed.
"""

import json
import sys
from statistics import median

FIGURES = ("per_s", "p50_ms", "p99_ms", "cpu_s_per_1000", "pss_peak_mib")
# Above this, other programs took so much that a run says little.
BUSY_CORES = 0.3


def rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def number(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def table(head, body):
    widths = [max(map(len, column)) for column in zip(head, *body)]
    for line in (head, *body):
        first, *rest = zip(line, widths)
        print(first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest), sep="  ")
    print()


def figures(runs, keys):
    return [number(median(run[key] for run in runs)) for key in keys]


def ratios(ours, theirs):
    """Medians of ours / theirs, round by round; '-' where a run had no right answer."""
    for key in FIGURES:
        pairs = [(a[key], b[key]) for a, b in zip(ours, theirs) if a["ok"] and b["ok"]]
        yield number(median(a / b for a, b in pairs)) if pairs and all(b for _, b in pairs) else "-"


def base(label):
    """Who is measured, and what: "litellm-first" is the first word of litellm."""
    for what in ("-first", "-tokens"):
        if label.endswith(what):
            return label.removesuffix(what), what
    return label, ""


def added(runs):
    """What each adds to the mock, round by round."""
    for (c, label), group in sorted(runs.items()):
        bare = runs.get((c, "mock" + base(label)[1]))
        if bare is None or base(label)[0] == "mock":
            continue
        pairs = [(a, b) for a, b in zip(group, bare) if a["ok"] and b["ok"]]
        if pairs:
            delays = (median(a[key] - b[key] for a, b in pairs) for key in ("p50_ms", "p99_ms"))
            yield label, str(c), *(f"{delay:.2f}" for delay in delays)


def main(path):
    runs, facts = {}, {}
    for row in rows(path):
        if "c" in row:
            runs.setdefault((row["c"], row["label"]), []).append(row)
        else:
            facts.setdefault((row["label"], row["fact"]), []).append(row["value"])

    body = []
    for (c, label), group in sorted(runs.items()):
        good = [run for run in group if run["ok"]]
        medians = figures(good, (*FIGURES, "other_cores")) if good else ["-"] * (len(FIGURES) + 1)
        errors = sum(run["errors"] for run in group)
        body.append((label, str(c), *medians, str(errors), str(len(group))))
    table(("median of runs", "c", *FIGURES, "other_cores", "errors", "runs"), body)

    body = list(added(runs))
    if body:
        table(("median added to the mock", "c", "p50_ms", "p99_ms"), body)

    body = []
    for (c, label), group in sorted(runs.items()):
        who, what = base(label)
        ours = runs.get((c, "nexus" + what))
        if who != "nexus" and ours is not None:
            body.append((f"nexus{what}/{label}", str(c), *ratios(ours, group)))
    if body:
        table(("median of ratios", "c", *FIGURES), body)

    for (label, fact), values in facts.items():
        print(f"{label} {fact}: {number(median(values))} (of {len(values)})")
    for group in runs.values():
        for run in group:
            if run["sample_error"]:
                print(f"{run['label']} c={run['c']}: {run['sample_error']}", file=sys.stderr)
            if run["other_cores"] > BUSY_CORES:
                print(f"{run['label']} c={run['c']}: other programs took {run['other_cores']} cores", file=sys.stderr)
    return 1 if any(run["errors"] for group in runs.values() for run in group) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
