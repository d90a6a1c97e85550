"""``python -m tests.incidents.judge OUT [--project .] [--json FILE]``: the kit's verdicts beside the truth.

In: a folder that ``python -m tests.incidents`` made. Out: what was wrong, and how far confidence can be trusted, on
standard output. The rules are those of ``score.py``; every case is judged in one process, through the Python interface.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

# A wrong cause with this much confidence is an overclaim, whatever the evidence allows.
WRONG_OVER = 0.8
BINS = ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1.0))


@dataclass
class Row:
    """One record of one case: what was expected, what the verdict says. ``p``: probability of the accepted causes."""

    name: str
    task_id: str
    group: str
    want: list[str]
    also: bool
    record: str = "-"
    got: str = "-"
    confidence: float = 0.0
    p: float = 0.0
    right: bool = False
    status: bool = False
    loss: bool | None = None
    over: bool = False
    under: bool = False
    error: str = ""
    seconds: float = 0.0
    says: list[str] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """The true cause: the first of those accepted."""
        return self.want[0]

    @property
    def trouble(self) -> str:
        marks = {
            "WRONG": not self.right,
            "OVERCLAIM": self.over,
            "underclaim": self.under,
            "status": not self.status,
            "unexpected_loss": self.loss is False,
        }
        return " ".join([name for name, holds in marks.items() if holds] + ([self.error] if self.error else []))


def judge_case(case: Path) -> list[Row]:
    """The rows of one case: its own record first, then those of ``also``."""
    truth = json.loads(case.with_name(case.name + ".truth.json").read_text(encoding="utf-8"))
    began, verdict, error = time.monotonic(), None, ""
    try:
        verdict = verdict_of(case, truth["task_id"])
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"[:200]
    rows = [_judge(case.name, truth, one, verdict, error, one is not truth) for one in [truth, *truth.get("also", [])]]
    for row in rows:
        row.seconds = round(time.monotonic() - began, 2)
    return rows


def verdict_of(case: Path, task_id: str) -> dict[str, Any]:
    """What the kit says of a task, as in ``verdict.json``."""
    import analysis

    return dict(analysis.investigate(analysis.open_case(case), task_id).to_dict())


def _judge(
    name: str, truth: dict[str, Any], expected: dict[str, Any], verdict: dict[str, Any] | None, error: str, also: bool
) -> Row:
    causes, records = _many(expected["cause"]), _many(expected["record"])
    row = Row(name, truth["task_id"], truth.get("group", "-"), causes, also, error=error)
    if verdict is None:
        return row
    found = [(one, verdict["records"][one]) for one in records if one in verdict["records"]]
    if not found:
        row.error = f"no record {'/'.join(records)}"
        return row
    row.record, said = next(((one, told) for one, told in found if told["cause"] in causes), found[0])
    row.got, row.confidence = said["cause"], float(said["confidence"])
    row.right, row.status = row.got in causes, said["status"] in _many(expected["status"])
    unknown = row.got == "unknown"
    row.over = not unknown and (
        row.confidence > expected["max_confidence"] + 1e-9 or (not row.right and row.confidence >= WRONG_OVER)
    )
    row.under = row.right and not unknown and row.confidence < expected["min_confidence"] - 1e-9
    if not also:
        row.loss = any(verdict["unexpected_loss"] is one for one in _many(truth["unexpected_loss"]))
    weighed: dict[str, float] = defaultdict(float)
    for hypothesis in verdict["hypotheses"]:
        if hypothesis["record"] == row.record:
            weighed[hypothesis["cause"]] += hypothesis["probability"]
            if hypothesis["probability"] > 0.05:
                row.says += [f"{hypothesis['cause']}: {one['weight']:+} {one['id']}" for one in hypothesis["evidence"]]
    row.p = sum(chance for cause, chance in weighed.items() if cause in causes)
    if "unknown" in causes:
        wrong = [chance for cause, chance in weighed.items() if cause not in causes and cause != "unknown"]
        row.p = max(row.p, 1 - max(wrong, default=0.0))
    row.p = min(1.0, max(0.0, row.p))
    return row


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# -- what is printed


def show(rows: Sequence[Row], say: Callable[[str], None] = print) -> None:
    """Every table over the rows."""
    for row in rows:
        if row.trouble:
            want, name = "|".join(row.want), row.name + (" +also" if row.also else "")
            say(
                f"{name:32} {row.group:7} {row.record}: {row.got} {row.confidence:.3f}"
                f"  expected {want if len(want) < 70 else want[:67] + '...'}  {row.trouble}"
            )
    say("\nexpected × got (the true cause; * where the answer was accepted)")
    pairs = Counter((row.cause, row.got, row.right) for row in rows)
    for (cause, got, right), count in sorted(pairs.items()):
        say(f"  {cause:26} {got + ('*' if right else ''):28} {count:4}")
    _shares(rows, "group", lambda row: row.group, say)
    _shares(rows, "cause", lambda row: row.cause, say)
    say("\nreliability (answers other than unknown)")
    say(f"  {'confidence':12} {'n':>5} {'mean':>6} {'right':>6}")
    sure = [row for row in rows if row.got not in ("unknown", "-")]
    for low, high in BINS:
        inside = [row for row in sure if low <= row.confidence < high or (high == 1.0 and row.confidence == 1.0)]
        if inside:
            say(f"  {f'{low:g} to {high:g}':12} {len(inside):5} {_mean(r.confidence for r in inside):6.3f} "
                f"{_mean(r.right for r in inside):6.3f}")  # fmt: skip
    losses = [row.loss for row in rows if row.loss is not None]
    say(
        f"\n{sum(row.right for row in rows)}/{len(rows)} causes right, {sum(row.over for row in rows)} overclaims, "
        f"{sum(row.under for row in rows)} underclaims, status {sum(row.status for row in rows)}/{len(rows)}, "
        f"unexpected_loss {sum(losses)}/{len(losses)}, mean Brier {_mean((1 - row.p) ** 2 for row in rows):.4f}, "
        f"{sum(bool(row.error) for row in rows)} failed"
    )


def _shares(rows: Sequence[Row], title: str, key: Callable[[Row], str], say: Callable[[str], None]) -> None:
    say(f"\n{title:26} {'n':>4} {'right':>6} {'conf':>6} {'p':>6} {'Brier':>7} {'over':>5} {'under':>5}")
    sorted_into: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sorted_into[key(row)].append(row)
    for name, some in sorted(sorted_into.items()):
        say(
            f"{name:26} {len(some):4} {_mean(r.right for r in some):6.3f} {_mean(r.confidence for r in some):6.3f} "
            f"{_mean(r.p for r in some):6.3f} {_mean((1 - r.p) ** 2 for r in some):7.4f} "
            f"{sum(r.over for r in some):5} {sum(r.under for r in some):5}"
        )


def _mean(numbers: Iterable[float]) -> float:
    listed = [float(number) for number in numbers]
    return sum(listed) / len(listed) if listed else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.incidents.judge", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--project", type=Path, default=Path("."), help="checkout whose `analysis` is judged")
    parser.add_argument("--only", nargs="*", default=[], metavar="CAUSE[-NN]")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each over its own cases (default 1)")
    parser.add_argument("--json", type=Path, help="write all rows here")
    arguments = parser.parse_args()
    project = str(arguments.project.resolve())
    cases = [
        path.with_name(path.name.removesuffix(".truth.json"))
        for path in sorted(arguments.out.glob("*.truth.json"))
        if not arguments.only or any(path.name.startswith(name) for name in arguments.only)
    ]
    if not cases:
        print(f"no *.truth.json in {arguments.out}", file=sys.stderr)
        return 2
    # What the kit keeps of the cases is not wanted afterwards.
    with tempfile.TemporaryDirectory(prefix="judge-cache-") as cache:
        os.environ.setdefault("ANALYSIS_CACHE", cache)
        if arguments.jobs > 1:
            with ProcessPoolExecutor(arguments.jobs, initializer=partial(sys.path.insert, 0, project)) as pool:
                rows = [row for some in pool.map(judge_case, cases) for row in some]
        else:
            sys.path.insert(0, project)
            rows = [row for case in cases for row in judge_case(case)]
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 1 if any(not row.right or row.over for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
