"""Shell scripts, crontabs, container and configuration files, and other languages, read line by line.

In: a file of a source tree. Out: ``Place``s, and ``Lead``s: which script or function a line starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from analysis.evidence.source.commands import SERVER_SETTINGS, Act, acts_of
from analysis.evidence.source.languages import places_in_text
from analysis.evidence.source.numbers import seconds_in_text
from analysis.evidence.source.patterns import Text
from analysis.evidence.source.place import Place, one_line, printable
from analysis.evidence.source.settings import NAMES, is_time, keys_of_setting
from analysis.evidence.source.shell import TELLS, acts_of_shell, learn, text_of
from analysis.evidence.source.tree import SourceFile
from analysis.redact import MASK

_LONGEST_LINE = 8_000
_MOST_JOINED = 40
_CRON = re.compile(
    r"^\s*(?P<when>@(?:reboot|yearly|annually|monthly|weekly|daily|midnight|hourly)|(?:[\d*/,\-A-Za-z?L#]+\s+){4}[\d*/,\-A-Za-z?L#]+)"
    r"\s+(?P<what>\S.*)"
)
_SCHEDULE = re.compile(
    r"""^\s*-?\s*(?:schedule|cron|OnCalendar|ScheduleExpression)\s*[:=]\s*(?:["'](?P<quoted>[^"']{1,80})["']|(?P<plain>[^\s#].{0,80}))"""
)
_TARGET = re.compile(r"^(?P<name>[A-Za-z0-9_.\-/]{1,60})\s*:(?!=)")
_FILE = re.compile(r"(?<![\w/.\-])(?P<path>(?:[\w.\-]+/|/|\./)*[\w\-]+\.(?:py|sh|bash|js|rb))(?![\w/])")
_MODULE = re.compile(r"\s-m\s+(?P<module>[A-Za-z_][\w.]{0,200})")
_MANAGED = re.compile(r"(?:manage\.py|django-admin|flask)\s+(?P<command>[a-z][\w\-]{0,80})")
_ENTRY = re.compile(
    r"""^\s*["']?(?P<name>[\w.\-]{1,80})\s*=\s*["']?(?P<module>[A-Za-z_][\w.]{0,200}):(?P<function>[A-Za-z_][\w.]{0,100})["']?,?\s*$"""
)
_ASSIGNS = re.compile(r"""(?<![\w.])["']?(?P<name>[A-Za-z_]{6,60})["']?\s*[=:]\s*["']?(?P<value>[^"'\s,#]{0,80})""")
_VALUE_BELOW = re.compile(r"""^\s*value:\s*["']?(?P<value>[^"'\s#]{0,80})""")
_NAME_ABOVE = re.compile(r"""^\s*-?\s*name:\s*["']?(?P<name>[A-Z_]{6,60})["']?\s*$""")
_DIRECTIVE = re.compile(r"^\s*(?P<name>[a-z][a-z\-]{2,40})\s+(?P<value>\S.*)$", re.IGNORECASE)
_OF_REDIS = re.compile(r"redis|valkey|keydb", re.IGNORECASE)
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.){0,2000})"')
_HEREDOC = re.compile(r"<<-?\s*[\"']?(?P<end>\w{1,40})")


@dataclass(frozen=True)
class Lead:
    """A line that starts something: ``path`` (as written), ``module`` (and function) or ``command`` of manage.py."""

    file: str
    label: str
    path: str = ""
    module: str = ""
    function: str = ""
    command: str = ""


@dataclass
class TextReading:
    """What one file says."""

    places: list[Place] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)


def read_text_file(file: SourceFile, *, follows: bool = True) -> TextReading:
    """Places and leads of a file that is not read as Python. Bytes that are not UTF-8 are escaped.

    ``follows`` is False for Python that does not parse: it is read as text, and starts nothing.
    """
    text = (
        file.data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    )
    reading = TextReading()
    if file.language in ("script", "lua", "python"):
        for number, line, act in places_in_text(text, lua=file.language == "lua"):
            label = f"file {file.name}, calls not followed"
            reading.places.append(_place(file, number, line, act, label))
        if file.language != "python":
            return reading
        follows = False
    if file.language == "conf" and _is_redis_conf(file.name, text):
        reading.places += _directives(file, text)
    elif file.language != "python":
        _Lines(file, reading).read(text)
    if file.language in ("settings", "shell", "conf", "cron", "python"):
        reading.places += _settings(file, text)
    if not follows:
        reading.leads.clear()
    return reading


def _place(file: SourceFile, line: int, code: str, act: Act, reached: str | None) -> Place:
    names = ", ".join(sorted(act.settings)) or None
    return Place(file.name, line, "", one_line(code.strip()), act.does, act.pattern, act.seconds, reached, names)


@dataclass
class _Lines:
    """Goes through commands, line by line, with what was assigned and scheduled before."""

    file: SourceFile
    reading: TextReading
    variables: dict[str, Text] = field(default_factory=dict)
    schedule: str = ""
    target: str = ""

    def read(self, text: str) -> None:
        base = self.file.name.rpartition("/")[2].lower()
        is_make = "makefile" in base or base.endswith((".mk", "justfile"))
        self.is_yaml = base.endswith((".yml", ".yaml"))
        self.may_be_cron = self.file.language == "cron" or "cron" in self.file.name.lower()
        end = ""
        for number, line in _logical(text, is_yaml=self.is_yaml):
            if end:
                # A here-document of redis-cli: a command a line.
                if line.strip() == end:
                    end = ""
                else:
                    words = [text_of(word, self.variables) for word in line.split()]
                    self._keep(number, line, acts_of(words))
                continue
            if line.lstrip().startswith("#") or len(line) < 4:
                continue
            if is_make and (found := _TARGET.match(line)):
                self.target = found["name"]
            if found := _SCHEDULE.match(line):
                self.schedule = (found["quoted"] or found["plain"] or "").strip()
            if line.strip() == "---":
                self.schedule = ""
            self._read_line(number, line)
            if TELLS.search(line) and (found := _HEREDOC.search(line)):
                end = found["end"]

    def _read_line(self, number: int, line: str) -> None:
        when = _CRON.match(line) if self.may_be_cron else None
        command = when["what"] if when else line
        label = self._label(when["when"] if when else "")
        lines = [_flat(command, self.is_yaml)]
        if self.file.name.endswith(".json"):
            # {"scripts": {"reset": "redis-cli FLUSHALL"}}: commands are what stands in quotes.
            lines = [found[1].replace('\\"', '"') for found in _JSON_STRING.finditer(command)]
        acts = [act for one in lines if TELLS.search(one) for act in acts_of_shell(one, self.variables)]
        self._keep(number, line, acts, label)
        learn(command, acts, self.variables)
        for lead in self._leads(command, label):
            if len(self.reading.leads) < 2_000:
                self.reading.leads.append(lead)

    def _keep(self, number: int, line: str, acts: list[Act], label: str | None = None) -> None:
        for act in acts:
            self.reading.places.append(_place(self.file, number, line, act, label or self._label("")))

    def _label(self, when: str) -> str:
        name = self.file.name
        if when:
            return printable(f"cron {' '.join(when.split())}")
        if self.schedule:
            return printable(f"schedule {self.schedule} in {name}")
        return f"script {name}" + (f" {self.target}" if self.target else "")

    def _leads(self, line: str, label: str) -> Iterator[Lead]:
        name = self.file.name
        if ".py" in line or ".sh" in line or ".js" in line or ".rb" in line or ".bash" in line:
            for path in _FILE.finditer(line[:_LONGEST_LINE]):
                yield Lead(name, label, path=path["path"])
        if " -m " in line:
            for module in _MODULE.finditer(line[:_LONGEST_LINE]):
                yield Lead(name, label, module=module["module"])
        if found := _MANAGED.search(line):
            yield Lead(name, label, command=found["command"])
        if ":" in line and "=" in line and (found := _ENTRY.match(line)):
            label = f"script {found['name']} ({name})"
            yield Lead(name, label, module=found["module"], function=found["function"])


def _logical(text: str, *, is_yaml: bool) -> Iterator[tuple[int, str]]:
    """Lines, of which those that end in a backslash go on; in YAML a list of words is one line."""
    kept: list[str] = []
    begin = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line[:_LONGEST_LINE]
        if not kept:
            begin = number
        if is_yaml and kept and re.match(r"\s*- \S", line) and len(kept) < _MOST_JOINED:
            kept.append(line.strip()[2:])
            continue
        if is_yaml and kept:
            yield begin, " ".join(kept)
            kept, begin = [], number
        if is_yaml and re.match(
            r"\s*- [\"']?(?:\S*/)?(?:(?:redis|valkey)-(?:cli|server)|celery|python3?)[\"']?\s*$", line
        ):
            kept = [line.strip()[2:]]
        elif line.rstrip().endswith("\\") and not is_yaml and len(kept) < _MOST_JOINED:
            kept.append(line.rstrip()[:-1])
        elif kept:
            yield begin, " ".join([*kept, line])
            kept = []
        else:
            yield number, line
    if kept:
        yield begin, " ".join(kept)


def _flat(command: str, is_yaml: bool) -> str:
    """``["redis-cli", "FLUSHALL"]``, the form of Docker's CMD and of YAML, as a command line."""
    begin, end = command.find("["), command.rfind("]")
    if 0 <= begin < end and re.match(r"\[\s*[\"']", command[begin:]):
        inner = command[begin : end + 1]
        try:
            words = json.loads(inner.replace("'", '"'))
        except (ValueError, RecursionError):
            return inner.strip("[]").replace(",", " ")
        return " ".join(json.dumps(word) if isinstance(word, str) else str(word) for word in words)
    command = re.sub(r"^\s*(?:-\s+)?(?:CMD|ENTRYPOINT|RUN|[\w\-]+:)\s+", "", command)
    return command.lstrip("- >|")


def _is_redis_conf(name: str, text: str) -> bool:
    if _OF_REDIS.search(name):
        return True
    names = {found["name"].lower() for line in text.split("\n")[:400] if (found := _DIRECTIVE.match(line))}
    return (
        len(names & {"maxmemory", "maxmemory-policy", "appendonly", "dbfilename", "appendfsync", "rdbcompression"}) > 1
    )


def _directives(file: SourceFile, text: str) -> Iterator[Place]:
    """Settings of a redis.conf that decide what the server forgets; names of renamed commands are not shown."""
    for number, line in enumerate(text.split("\n"), 1):
        found = _DIRECTIVE.match(line[:_LONGEST_LINE])
        if not found or not SERVER_SETTINGS.fullmatch(found["name"]):
            continue
        name = found["name"].lower()
        if name == "rename-command":
            words = line.split()
            line = f"{name} {words[1]} " + (MASK if len(words) > 2 and words[2].strip("\"'") else '""')
        yield _place(file, number, line, Act("sets", None, None, frozenset((name,))), f"setting in {file.name}")


def _settings(file: SourceFile, text: str) -> Iterator[Place]:
    """Settings of Celery in files of settings and environments, and of a Redis server in YAML."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        line = line[:_LONGEST_LINE]
        if line.lstrip().startswith("#"):
            continue
        for given in _ASSIGNS.finditer(line):
            if given["name"] in NAMES and not (file.language == "shell" and given["name"].islower()):
                yield _setting(file, number, line, given["name"], given["value"])
        if (above := _NAME_ABOVE.match(line)) and above["name"] in NAMES and number < len(lines):
            below = _VALUE_BELOW.match(lines[number][:_LONGEST_LINE])
            yield _setting(file, number, f"{line} {lines[number]}", above["name"], below["value"] if below else "")
        if file.name.endswith((".yml", ".yaml", ".j2", ".tpl")) and (found := _DIRECTIVE.match(line)):
            if found["name"].startswith(("maxmemory", "appendonly", "lazyfree-")) and SERVER_SETTINGS.fullmatch(
                found["name"]
            ):
                act = Act("sets", None, None, frozenset((found["name"],)))
                yield _place(file, number, line, act, f"setting in {file.name}")


def _setting(file: SourceFile, number: int, line: str, name: str, value: str) -> Place:
    setting = NAMES[name]
    seconds = seconds_in_text(value) if is_time(setting) else None
    if is_time(setting) and value.lower() in ("none", "null", "~"):
        seconds = 0.0
    act = Act("sets", keys_of_setting(setting), seconds, frozenset((setting,)))
    return _place(file, number, line, act, f"setting in {file.name}")
