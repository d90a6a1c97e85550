"""Makes ``reference.md``: every verb, parameter, setting, frame, column, family, cause and rule from its one source.

In: the package and the notebooks. Out: Markdown on standard output (``make docs`` writes the file; a test holds them
together). Knows nothing that does not stand elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import nbformat

import analysis.findings.conclude  # noqa: F401  enters every rule in the register
from analysis.celery.families import FAMILIES
from analysis.cli import cli
from analysis.findings.causes import CAUSES
from analysis.findings.rules import RULES
from analysis.findings.words import CONFIDENCE, QUALITY
from analysis.frames import FRAMES, ROWS
from analysis.settings import KEYS

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_PARAMETER = re.compile(r'^(\w+): (\w+) = (".*?")  # (.+)$', re.MULTILINE)


def main() -> None:
    print("\n".join(reference()))


def reference() -> Iterator[str]:
    """The lines of the page."""
    yield "# Reference"
    yield ""
    yield "Made by `make docs` from the code itself; what stands here is what the kit does."
    for heading, part in (
        ("The command", _verbs()),
        ("Parameters of the notebooks", _parameters()),
        ("Keys of case.toml", _settings()),
        ("Frames", _frames()),
        ("Families of keys", _families()),
        ("Causes", _causes()),
        ("Words of confidence and quality", _words()),
        ("Rules of evidence", _rules()),
    ):
        yield from ("", f"## {heading}", "", *part)


def _verbs() -> Iterator[str]:
    taken = [{_option(part): part for part in verb.params if isinstance(part, click.Option)}
             for verb in cli.commands.values()]  # fmt: skip
    shared = [option for option in taken[0] if all(option in options for options in taken)]
    yield from ("Every verb takes:", "")
    yield from _table(("Option", "Does"), ((f"`{name}`", taken[0][name].help or "") for name in shared))
    for (name, verb), options in zip(cli.commands.items(), taken, strict=True):
        arguments = " ".join(_usage(part) for part in verb.params if isinstance(part, click.Argument))
        yield from ("", f"### analysis {name} {arguments}", "", *_paragraphs(verb.help or ""))
        if own := [(f"`{option}`", part.help or "") for option, part in options.items() if option not in shared]:
            yield from ("", *_table(("Option", "Does"), own))


def _usage(argument: click.Argument) -> str:
    name = str(argument.metavar or argument.name).upper()
    return f"{name}…" if argument.nargs == -1 and not name.endswith(("…", "...")) else name


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    return ", ".join(option.opts) + value


def _paragraphs(text: str) -> list[str]:
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]
    return "\n\n".join(paragraphs).split("\n")


def _parameters() -> Iterator[str]:
    rows = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        [cell] = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        rows += [(path.name, f"`{name}`", f"`{default}`", means)
                 for name, _, default, means in _PARAMETER.findall(cell.source)]  # fmt: skip
    yield from _table(("Notebook", "Parameter", "Unless given", "Meaning"), rows)


def _settings() -> Iterator[str]:
    rows = ((f"[{key.table}]" if key.table else "", f"`{key.name}`", key.takes, key.meaning) for key in KEYS)
    yield from _table(("Table", "Key", "Takes", "Meaning"), rows)


def _frames() -> Iterator[str]:
    yield "Times are UTC, to the microsecond. A frame from no evidence is empty, with the same columns."
    for name, columns in FRAMES.items():
        yield from ("", f"### {name}", "", f"A row is {ROWS[name]}.", "")
        yield from _table(
            ("Column", "Type", "Unit", "Meaning"),
            ((f"`{column.name}`", column.kind, column.unit, column.meaning) for column in columns),
        )


def _families() -> Iterator[str]:
    rows = ((f"`{one.name}`", one.meaning, one.writer, one.form) for one in FAMILIES.values())
    yield from _table(("Family", "Is", "Written by", "Form"), rows)


def _causes() -> Iterator[str]:
    rows = ((f"`{cause.code}`", cause.title, cause.means, cause.loss) for cause in CAUSES.values())
    yield from _table(("Code", "Title", "Means", "A loss nobody wanted?"), rows)


def _words() -> Iterator[str]:
    rows = [(word, f"{least:.0%} or more" if least else "less") for least, word in CONFIDENCE]
    yield from _table(("Confidence", "Probability"), rows)
    yield ""
    yield from _table(("Quality of evidence", "Takes"), QUALITY.items())


def _rules() -> Iterator[str]:
    yield from _table(("Rule", "Rests on"), ((f"`{rule.id}`", rule.rests_on) for rule in RULES.values()))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"


if __name__ == "__main__":
    main()
