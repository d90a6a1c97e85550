"""The command ``analysis``: verbs to functions; arguments and exit status, nothing else.

Exit status: 0 all was made from all the evidence; 1 made, but something failed or was left out (a line each on standard
error); 2 nothing was made, and one line says why.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import click
import pandas as pd
from tqdm import tqdm

from analysis.archive import NAME, keep
from analysis.batch.listing import ALL, GIVEN, LOST
from analysis.batch.warm import FORKED, PLAIN, Refused, usual_engine, warm_process
from analysis.cache import FOLDER_SWITCH, open_cache
from analysis.case import Case, open_case, share
from analysis.errors import Unusable
from analysis.findings.bulk import looks
from analysis.findings.purge import PurgeFindings, with_order
from analysis.findings.purge import verify_purge as verify
from analysis.findings.purge_list import LARGEST, read_ids
from analysis.findings.purge_words import purge_headline, purge_lines, purge_notes
from analysis.findings.view import place
from analysis.findings.words import count, listed, stamp
from analysis.investigation import case_gaps, holding, look_into, tasks_of
from analysis.kernels import COMPILED_FROM
from analysis.progress import Progress
from analysis.redact import redact_text
from analysis.report.bundle import REPORT, folder_name, rows, to_json
from analysis.report.show import SWITCH, shown

OK, PARTLY, NOTHING = 0, 1, 2
T = TypeVar("T")
_PIECE = 10_000


def _options(out: str | None, about: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that every verb has; ``out`` is where it writes unless told."""
    options = (
        click.option("--out", default=out, show_default=True, metavar="DIR", help=about),
        click.option(
            "--cache", metavar="DIR", help="Folder for what is kept between runs: what was read of large snapshots."
        ),
        click.option("--quiet", is_flag=True, help="Say nothing about progress."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line."),
        click.option("--show-values", is_flag=True, help="Show values whole, not shortened and redacted."),
    )

    def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return with_options


_shared = _options("reports", "Folder for what is made.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="analysis", prog_name="analysis")
def cli() -> None:
    """When a Celery task, its result or its job record is missing from Redis: what happened, how sure, on what
    evidence.
    """


@cli.command()
@click.argument("task_ids", nargs=-1, metavar="TASK_ID...")
@click.argument("case")
@_shared
def investigate(task_ids: tuple[str, ...], case: str, **options: Any) -> int:
    """Investigate tasks: a report for each TASK_ID (or unique beginning of one) from the evidence in CASE."""
    if not task_ids:
        raise Unusable("no task ID given: analysis investigate TASK_ID... CASE")
    said = _Said(**options)
    opened = said.open(case)
    looked = {asked: look_into(opened, asked) for asked in task_ids}
    for asked, one in said.each(looked.items(), "task"):
        whole = one.view.task_id
        if not said.bar:
            said.progress(f"investigating {whole}" + (f" (asked as {asked})" if whole != asked else ""))
        page = said.notebook("deletion_investigation", opened, Path(folder_name(whole)), task_id=asked)
        if page is None:
            continue
        if said.as_json:
            click.echo(to_json({**one.verdict.to_dict(), "report": os.fspath(page)}))
        else:
            if whole != asked:
                click.echo(f"{asked} is the beginning of {whole}")
            click.echo(one.verdict.headline)
            click.echo(os.fspath(page))
    return said.status(opened)


@cli.command()
@click.argument("case")
@click.option("--tasks", "file", metavar="FILE", help="Task IDs, one a line; - = standard input.")
@click.option("--all", "everything", is_flag=True, help="Every task that any witness of CASE names.")
@click.option("--lost", is_flag=True, help="The tasks that existed, are not due, and are not there.")
@click.option(
    "--jobs", type=click.IntRange(1, 256), metavar="N", help="Reports at once; as many as cores unless given."
)
@click.option(
    "--engine", type=click.Choice([FORKED, PLAIN]), default=usual_engine(), show_default=True,
    help="How kernels are started: forked from a process that has read the case (Linux), or each anew.",
)  # fmt: skip
@click.option("--timeout", type=click.FloatRange(1), metavar="SECONDS", help="Longest time of one report.")
@click.option("--memory", type=click.IntRange(16), metavar="MIB", help="Most memory of one report (Linux).")
@_shared
def batch(
    case: str, file: str | None, everything: bool, lost: bool, jobs: int | None, engine: str, timeout: float | None,
    memory: int | None, **options: Any,
) -> int:  # fmt: skip
    """A report of each of many tasks of CASE, and an index of all; goes on where it stopped."""
    if (file is not None) + everything + lost != 1:
        raise Unusable("name the tasks by one of --tasks FILE, --all and --lost")
    said = _Said(**options)
    given = read_ids(_given(file), "standard input" if file == "-" else file) if file is not None else []
    opened = said.open(case)
    from analysis.batch.run import Batch, run_batch  # papermill takes a second to import

    bar = tqdm(total=0, unit="task", disable=not said.bar, file=sys.stderr)

    def begun(batch: Batch) -> None:
        bar.reset(batch.asked)
        there = f", {batch.before:,} of them there already" if batch.before else ""
        said.progress(f"{count(batch.asked, 'task')}{there}")

    def done(row: dict[str, Any]) -> None:
        failed[0] += bool(row["error"])
        bar.set_postfix({"failed": failed[0]}, refresh=False)
        bar.update()
        if row["error"]:
            tqdm.write(f"analysis: {row['task_id']}: {row['error']}", file=sys.stderr)
        elif said.as_json:
            page = said.out / row["folder"] / REPORT
            click.echo(to_json({**row["verdict"], "report": os.fspath(page)}))

    failed = [0]
    which = GIVEN if file is not None else ALL if everything else LOST
    number = jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else jobs or os.cpu_count() or 1
    with _stopped_by(signal.SIGTERM):
        try:
            made = run_batch(
                opened, which, given, said.out, jobs=number, engine=engine, timeout=timeout,
                memory=memory * 2**20 if memory else None, cache=said.cache, begun=begun, done=done,
            )  # fmt: skip
        finally:
            bar.close()
    if not said.as_json:
        click.echo(os.fspath(said.out / "index.html"))
    said.failed = bool(made.failed)
    return said.status(opened)


@contextmanager
def _stopped_by(number: int) -> Iterator[None]:
    """Within the block a signal ends the command as Ctrl-C does."""
    before = signal.signal(number, _Stop._interrupted)
    try:
        yield
    finally:
        signal.signal(number, before)


def _notebook_verb(name: str, notebook: str, about: str) -> None:
    def verb(case: str, **options: Any) -> int:
        said = _Said(**options)
        opened = said.open(case)
        said.progress(f"reading {opened.name}")
        page = said.notebook(notebook, opened, Path())
        if page is not None:
            click.echo(to_json({"report": os.fspath(page)}) if said.as_json else os.fspath(page))
        return said.status(opened)

    verb.__doc__ = about
    cli.command(name)(click.argument("case")(_shared(verb)))


_notebook_verb("overview", "overview", "What is in this Redis, and how is it? The report to open first on CASE.")
_notebook_verb("ttl", "ttl_distributions", "How long keys live: a report on the TTLs in CASE.")
_notebook_verb("bulk", "bulk_patterns", "Were keys removed in bulk? A report on what is gone and left in CASE.")


@cli.command()
@click.argument("case")
@_shared
def inspect(case: str, **options: Any) -> int:
    """What evidence CASE holds, from when to when, what it can decide, and what to collect next."""
    said = _Said(**options)
    opened = said.open(case, needed=False)
    gaps = case_gaps(opened)
    if said.as_json:
        wanted = ["path", "kind", "sha256", "from", "to", "complete", "stopped_at", "reason"]
        click.echo(
            to_json(
                {
                    "evidence": rows(opened.evidence[wanted]),
                    "ignored": [{"path": item.path, "reason": item.reason} for item in opened.ignored],
                    "gaps": [{"missing": g.missing, "would_decide": list(g.would_decide), "how": g.how} for g in gaps],
                }
            )
        )
        return said.status(opened)
    click.echo(f"{opened.name}: {count(len(opened.evidence), 'file')} of evidence")
    for row in opened.evidence.rename(columns={"from": "since"}).itertuples():
        times = list(dict.fromkeys(_moment(at) for at in (row.since, row.to)))
        part = [] if row.complete else [f"read in part: {row.reason}"]
        click.echo("  " + "  ".join([row.path, row.kind, " – ".join(times), *part]))
    for line in holding(opened):
        click.echo(f"  {line}")
    if opened.ignored:
        click.echo("Not used:")
        for item in opened.ignored:
            click.echo(f"  {item}")
    if gaps:
        click.echo("What is missing, and how to have it:")
        for gap in gaps:
            click.echo(f"  {gap.missing}: {gap.how} (would tell: {listed(gap.would_decide, most=6)})")
    return said.status(opened)


def _moment(at: Any) -> str:
    return "undated" if pd.isna(at) else stamp(at)


@cli.command()
@click.argument("case")
@click.option("--name", metavar="GLOB", help="Only tasks whose name matches.")
@click.option(
    "--since", metavar="T", help="Only tasks last seen at T or later (ISO; without an offset, in the case's zone)."
)
@click.option("--until", metavar="T", help="Only tasks first seen at T or earlier.")
@click.option("--text", metavar="S", help="Only tasks with S in their ID, name, log lines or stored result.")
@_shared
def tasks(case: str, name: str | None, since: str | None, until: str | None, text: str | None, **options: Any) -> int:
    """List the tasks that any witness of CASE names."""
    said = _Said(**options)
    opened = said.open(case)
    table = tasks_of(opened)
    if name is not None:
        table = table.loc[
            table["name"].map(lambda known: isinstance(known, str) and fnmatchcase(known, name)).astype(bool)
        ]
    if since is not None:
        table = table.loc[table["last_at"] >= _time(since, "--since", opened)]
    if until is not None:
        table = table.loc[table["first_at"] <= _time(until, "--until", opened)]
    if text is not None:
        table = table.loc[table["task_id"].isin(opened.mentioning(text))]
    for row in table.itertuples():
        if said.as_json:
            click.echo(to_json({column: getattr(row, column) for column in table.columns}))
        else:
            known = [str(value) for value in (row.name, row.state) if isinstance(value, str)]
            click.echo("  ".join([str(row.task_id), *known, _moment(row.last_at), str(row.seen_in)]))
    said.progress(f"{len(table):,} tasks")
    return said.status(opened)


def _time(text: str, option: str, opened: Case) -> pd.Timestamp:
    try:
        moment = pd.Timestamp(text)
        if pd.isna(moment):
            raise ValueError
        if moment.tzinfo is None:
            moment = moment.tz_localize(opened.settings.timezone, ambiguous=True, nonexistent="shift_forward")
        return moment.tz_convert("UTC")
    except (ValueError, OverflowError, NotImplementedError):
        raise Unusable(f"{text!r} is no time such as 2025-07-24T02:30:00Z", file=option) from None


@cli.command()
@click.argument("case")
@click.option("--ids", "file", metavar="FILE", required=True, help="The purged records, one a line; - = stdin.")
@_shared
def verify_purge(case: str, file: str, **options: Any) -> int:
    """After a purge: which of the job records given in FILE are gone from CASE, which remain, what else disappeared.

    An ID is a task's, the record's own, or a whole key, and exact. Blank lines and # comments are passed over. With a
    snapshot from before the purge and one from after it, it is told what disappeared; one alone tells what remains.
    """
    said = _Said(**options)
    ids = read_ids(_given(file), "standard input" if file == "-" else file)
    opened = said.open(case)
    shots = looks(opened.evidence)
    if not len(shots):
        why = "; ".join(str(item) for item in opened.ignored if item.left_out) or "put one from after the purge in it"
        raise Unusable(f"no snapshot to look in ({why})", file=case)
    around = opened.settings.jobs.around if opened.settings.jobs else None
    servers = set(opened.evidence["server"].dropna())
    append_only = set(opened.evidence.loc[opened.evidence["kind"].eq("append-only file"), "path"])
    shots = with_order(shots, append_only)
    jobs = opened.jobs.loc[opened.jobs["snapshot"].isin(shots["snapshot"])]
    found = verify(ids, opened.keys, jobs, opened.messages, shots, around, servers, append_only)
    if said.as_json:
        for part in _purge_object(found):
            click.echo(part, nl=False)
    else:
        from analysis.report.html import said as printable  # only here, for it takes long to import

        for line in purge_lines(found, printable):
            click.echo(line)
    said.failed = bool(len(found.remaining) or len(found.undecided))
    return said.status(opened)


@cli.command()
@click.argument("case")
@_options(None, "Folder of the archive; unless given, the folder archive of CASE.")
def archive(case: str, out: str | None, **options: Any) -> int:
    """Keep the results and job records of CASE as Parquet, before they expire; adds only what is new.

    The archive lies in the folder archive of CASE, where every verb reads it as a source; of a CASE that is one file,
    or comes with the kit, in the current folder. A record whose content and expiry it has already is not added again.
    What is named like a secret is redacted unless --show-values is given; a pickle is not opened, of it only size and
    digest are kept.
    """
    said = _Said(out="", **options)
    opened = said.open(case)
    folder = Path(out or (opened.path if Path(case).is_dir() else Path()) / NAME)
    with _Bar(said) as bar:
        kept = keep(opened, folder, whole=shown(), progress=bar)
    if said.as_json:
        click.echo(to_json({"archive": os.fspath(folder), **kept.to_dict()}))
    else:
        for line in (*kept.lines(), *map(os.fspath, kept.files)):
            click.echo(line)
    for item in kept.left_out:
        said.failed = True
        if not any(other.path == f"{NAME}/{Path(item.path).name}" for other in opened.ignored):
            click.echo(f"analysis: {item}", err=True)
    return said.status(opened)


def _purge_object(found: PurgeFindings) -> Iterator[str]:
    """The JSON object in pieces, for what is gone may be all that a server held: the IDs as they were given and the
    keys as ``where`` writes them, then what is known of each.
    """
    remaining = found.remaining
    if not shown():
        remaining = remaining.assign(status=remaining["status"].map(redact_text, na_action="ignore"))
    yield f'{{"headline": {to_json(purge_headline(found))}, "notes": {to_json(purge_notes(found))}'
    also = found.also_gone
    lists = {"gone": found.gone["id"], "remaining": remaining["id"], "undecided": found.undecided["id"]}
    lists["also_gone"] = pd.Series([place(row.server, row.db, row.key) for row in also.itertuples()], dtype="str")
    for name, ids in lists.items():
        yield f', "{name}": {to_json(ids.tolist())}'
    frames = {"gone": found.gone, "remaining": remaining, "undecided": found.undecided, "also_gone": also}
    frames |= {"expired_meanwhile": found.expired_meanwhile, "emptied": found.emptied, "compared": found.windows}
    yield ', "details": {'
    for number, (name, frame) in enumerate(frames.items()):
        yield f'{", " if number else ""}"{name}": ['
        for begin in range(0, len(frame), _PIECE):
            yield (", " if begin else "") + to_json(rows(frame.iloc[begin : begin + _PIECE]))[1:-1]
        yield "]"
    yield "}}\n"


def _given(file: str) -> bytes:
    """What stands in a file, or in standard input for ``-``, as far as it may be a list."""
    try:
        if file == "-":
            if sys.stdin is None:
                raise Unusable("is closed", file="standard input")
            return sys.stdin.buffer.read(LARGEST + 1)
        with open(file, "rb") as opened:
            return opened.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=file) from None


class _Said:
    """What the command says while it works, and the exit status that follows from it."""

    def __init__(self, out: str, cache: str | None, quiet: bool, as_json: bool, show_values: bool) -> None:
        self.out, self.quiet, self.as_json = Path(out), quiet, as_json
        self.cache = Path(cache) if cache else None
        if self.cache:
            open_cache(self.cache)
            os.environ[FOLDER_SWITCH] = os.fspath(self.cache.resolve())
        self.failed = False
        self._kernels: str | None = None
        os.environ[SWITCH] = "1" if show_values else "0"

    def open(self, path: str, *, needed: bool = True) -> Case:
        with _Bar(self) as bar:
            opened = open_case(path, progress=bar)
        if needed and not len(opened.evidence):
            why = "; ".join(str(item) for item in opened.ignored[:3]) or "the folder is empty"
            raise Unusable(f"no readable evidence ({why})", file=path)
        return opened

    @property
    def bar(self) -> bool:
        """Whether progress is a bar: where standard error is a terminal."""
        return not self.quiet and sys.stderr.isatty()

    def each(self, items: Collection[T], unit: str) -> Iterable[T]:
        """The items, with a bar on standard error while they are gone through."""
        return tqdm(items, unit=unit, disable=not self.bar, file=sys.stderr)

    def progress(self, line: str) -> None:
        """A line on standard error."""
        if not self.quiet:
            click.echo(f"analysis: {line}", err=True)

    def notebook(self, name: str, opened: Case, inner: Path, **parameters: str) -> Path | None:
        engine = self._engine(opened)
        from analysis.report.run import Failed, run_notebook  # papermill takes a second to import

        given = {**parameters, "case": os.fspath(opened.path), "out": os.fspath(self.out.resolve())}
        try:
            return run_notebook(name, given, self.out / inner, cache=self.cache, engine=engine)
        except Failed as error:
            self.failed = True
            click.echo(f"analysis: {parameters.get('task_id', name)}: {error}", err=True)
            return None

    def _engine(self, opened: Case) -> str:
        """The kernel has the case from this process where that can be: it need not be read again."""
        if self._kernels is None:
            self._kernels = PLAIN
            scratch = tempfile.mkdtemp(prefix="analysis-")
            atexit.register(shutil.rmtree, scratch, ignore_errors=True)
            warm = warm_process(Path(scratch))
            share(opened)
            try:
                warm.__enter__()
            except Refused:
                return self._kernels
            atexit.register(warm.__exit__, None, None, None)
            self._kernels = FORKED
        return self._kernels

    def status(self, opened: Case) -> int:
        """0, 1 or 2, after a line for each shortcoming."""
        for line in opened.shortcomings:
            click.echo(f"analysis: {line}", err=True)
        if not len(opened.evidence):
            click.echo(f"analysis: {opened.name}: no readable evidence", err=True)
            return NOTHING
        return PARTLY if self.failed or opened.shortcomings else OK


class _Bar(Progress):
    """Reading shown on standard error: a bar of bytes where much is read at a terminal, and what there is to say."""

    def __init__(self, said: _Said) -> None:
        self.said = said
        self.bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def expect(self, size: int) -> None:
        if self.said.bar and size >= COMPILED_FROM:
            self.bar = tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, desc="reading", file=sys.stderr)

    def advance(self, size: int) -> None:
        if _Stop.asked:
            raise KeyboardInterrupt
        if self.bar is not None:
            self.bar.update(size)

    def say(self, line: str) -> None:
        if not self.said.quiet:
            tqdm.write(f"analysis: {line}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit; every refusal is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _Stop.listen()
    tqdm.monitor_interval = 0  # its thread would stand still in every process that is forked
    try:
        status = cli.main(arguments, prog_name="analysis", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        _Stop.end()
    except Unusable as error:
        _refuse(str(error))
    except click.ClickException as error:
        _refuse(" ".join(error.format_message().split()))
    except OSError as error:
        _refuse(f"standard output cannot be written: {error.strerror}")
    except Exception:
        if _Stop.asked:
            _Stop.end()
        raise
    if _Stop.asked:
        _Stop.end()
    sys.exit(status if isinstance(status, int) else OK)


class _Stop:
    """Ctrl-C, also where Python loses it: raised while an object is deleted, or a class is made, it is only printed."""

    asked = False

    @classmethod
    def listen(cls) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, cls._interrupted)

    @classmethod
    def _interrupted(cls, *_: object) -> NoReturn:
        cls.asked = True
        raise KeyboardInterrupt

    @classmethod
    def end(cls) -> NoReturn:
        """End with 130, after what is done at every exit. Python itself would end with another status where the signal
        came while code was made from text, as numba does.
        """
        click.echo("analysis: stopped", err=True)
        sys.stdout.flush()
        atexit._run_exitfuncs()
        os._exit(130)


def _refuse(line: str) -> NoReturn:
    click.echo(f"analysis: {line}", err=True)
    sys.exit(NOTHING)
