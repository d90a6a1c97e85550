"""The incidents beside the project, whose truth is known: right, honest where evidence is missing, explained.

They lie in ``../shared/incidents``; where that is not there, the tests skip.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.findings.verdict import Verdict
from tests.incidents.judge import judge_case

GIVEN = Path(__file__).parents[2] / "shared" / "incidents"
CASES = sorted(path.name.removesuffix(".truth.json") for path in GIVEN.glob("*.truth.json"))
pytestmark = pytest.mark.skipif(not CASES, reason="../shared/incidents is not there")

# A file with a line, a byte, an entry, a field or what was counted in it.
_PLACE = re.compile(r"[^,:]+(?:\.\w+|[\w-]+)(?::\d+|, (?:byte|line|entry) \d+|, [\w.|: ]+)")


def truth_of(name: str) -> dict[str, Any]:
    return dict(json.loads((GIVEN / f"{name}.truth.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_right_and_claims_no_more_than_the_truth_allows(name: str) -> None:
    for row in judge_case(GIVEN / name):
        assert not row.trouble, f"{row.trouble}: {row.record} {row.got} {row.confidence:.3f}, wanted {row.want}"


@pytest.mark.parametrize("name", CASES)
def test_what_decided_it_names_a_file_and_a_place_in_it(name: str) -> None:
    truth = truth_of(name)
    verdict = analysis.investigate(analysis.open_case(GIVEN / name), truth["task_id"])
    for record in many(truth["record"]):
        lead = verdict.of(record)[0]
        if lead.cause == "unknown":
            continue
        decisive = lead.evidence[0]
        assert decisive.weight > 0
        assert _PLACE.fullmatch(decisive.source), decisive.source
        assert (GIVEN / name / re.split(r"[,:]", decisive.source)[0].strip()).exists(), decisive.source


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def pieces(case: Path) -> list[Path]:
    """Every piece of evidence of a case: files, and folders that are one."""
    found: list[Path] = []
    for path in sorted(case.iterdir()):
        if path.is_dir() and path.name not in ("appendonlydir", "src"):
            found += pieces(path)
        elif path.name != "case.toml":
            found.append(path)
    return found


@pytest.mark.parametrize("name", CASES)
def test_without_a_piece_of_evidence_no_other_cause_is_believed(name: str, tmp_path: Path) -> None:
    truth = truth_of(name)
    for piece in pieces(GIVEN / name):
        case = tmp_path / "case"
        shutil.copytree(GIVEN / name, case)
        gone = case / piece.relative_to(GIVEN / name)
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        verdict = analysis.investigate(analysis.open_case(case), truth["task_id"])
        for one in (truth, *truth.get("also", [])):
            for record in many(one["record"]):
                _not_believed(verdict, record, many(one["cause"]), piece.name)
        shutil.rmtree(case)


def _not_believed(verdict: Verdict, record: str, accepted: list[str], without: str) -> None:
    found = verdict.records.get(record)
    if found is not None and found.cause not in (*accepted, "unknown"):
        assert found.confidence <= 0.5, f"without {without}: {record} {found.cause} {found.confidence:.3f}"
