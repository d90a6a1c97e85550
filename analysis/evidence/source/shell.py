"""What command lines do to Redis: ``redis-cli``, ``redis-server`` with options, ``celery purge``.

In: command lines as a shell, a crontab or a container file has them. Out: ``Act``s. Runs nothing; a variable is ``*``
unless the file assigns it a literal.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from analysis.evidence.source.commands import SERVER_SETTINGS, Act, acts_of
from analysis.evidence.source.patterns import ANY, Text, known, matching

TELLS = re.compile(
    r"redis-cli|valkey-cli|keydb-cli|redis-server|valkey-server|celery\b.*\bpurge|\$\{?\w*(?:REDIS|VALKEY)_?CLI", re.I
)
_LONGEST = 8_000
_DEEPEST = 3
_CLI = re.compile(r"(?:.*/)?(?:redis|valkey|keydb)-cli(?:\.exe)?|\$\{?\w*(?:REDIS|VALKEY)_?CLI\w*\}?", re.IGNORECASE)
_SERVER = re.compile(r"(?:.*/)?(?:redis|valkey|keydb)-server")
_CELERY = re.compile(r"(?:.*/)?celery")
# Options of redis-cli that take a value (redis-cli --help).
_TAKES_VALUE = frozenset(
    "-h -p -s -a -u -r -i -n -d -D -t -P --user --pass --sni --cacert --cacertdir --cert --key --tls-ciphers --pattern "
    "--count --type --cursor --functions-rdb --rdb --lru-test --quoted-pattern --intrinsic-latency --memkeys-samples "
    "--show-pushes --name".split()
)
_VARIABLE = re.compile(r"\$\{(?P<braced>\w+)[^}]*\}|\$(?P<plain>\w+|[@*#?])|\{\{[^}]*\}\}|\$\{\{[^}]*\}\}|%\w+%|\{\}")
_ASSIGNED = re.compile(
    r"(?:^|[;&\s])(?:export\s+|local\s+|readonly\s+)?(?P<name>[A-Za-z_]\w{0,60})=(?P<value>\"[^\"$`]*\"|'[^']*'|[\w.:*\-/{}\[\]]+)(?=$|[\s;&])"
)
_TAKES_SEARCH = re.compile(r"for\s+(?P<each>\w+)\s+in\b|(?P<all>\w+)=[\"(]*[$`]|read\s+(?:-\w+\s+)*(?P<read>\w+)")
_ENDS = re.compile(r"[|&;()<>\n]+")


def words_of(line: str) -> list[str]:
    """The words of a command line, operators apart; of one that does not end its quotes, by its blanks."""
    try:
        lexer = shlex.shlex(line[:_LONGEST].replace("`", " ( "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = ""
        return list(lexer)
    except ValueError:
        return re.findall(r"[|&;()<>]+|[^\s|&;()<>\"']+", line[:_LONGEST])


def acts_of_shell(line: str, variables: Mapping[str, Text] | None = None, depth: int = 0) -> list[Act]:
    """What a command line does to keys, and which settings of a server it sets.

    What ``redis-cli --scan --pattern P | xargs redis-cli DEL`` deletes is P; of ``echo FLUSHALL | redis-cli`` the
    command is what is printed. ``variables`` are literals that the file assigned before.
    """
    if depth > _DEEPEST or not TELLS.search(line):
        return []
    variables = variables or {}
    words = words_of(line)
    acts: list[Act] = []
    searched: list[Text] = []
    begin = 0
    segments: list[tuple[str, list[str]]] = []
    for place, word in enumerate([*words, ";"]):
        if _ENDS.fullmatch(word):
            segments.append((words[begin - 1] if begin else "", words[begin:place]))
            begin = place + 1
    before: list[str] = []
    for operator, segment in segments:
        found = _of_segment(segment, before if "|" in operator else [], searched, variables, depth)
        searched += [matching(act.pattern or "*").named(*act.settings) for act in found if act.does == "searches"]
        acts += found
        before = segment
    return list(dict.fromkeys(acts))


def _of_segment(
    words: list[str], before: list[str], searched: list[Text], variables: Mapping[str, Text], depth: int
) -> list[Act]:
    for place, word in enumerate(words):
        if " " in word or "\n" in word:
            if found := acts_of_shell(word, variables, depth + 1):
                return found
        elif _CLI.fullmatch(word):
            return _of_cli(words[place + 1 :], before, searched, variables, "xargs" in words[:place])
        elif _SERVER.fullmatch(word):
            return _of_server(words[place + 1 :])
        elif _CELERY.fullmatch(word) and ("purge" in words[place:] or "queue.purge" in words[place:]):
            return _of_celery(words[place + 1 :])
    return []


def _of_cli(
    words: list[str], before: list[str], searched: list[Text], variables: Mapping[str, Text], from_xargs: bool
) -> list[Act]:
    place, scans = 0, False
    pattern: str | None = None
    while place < len(words) and words[place].startswith("-"):
        option, _, value = words[place].partition("=")
        scans = scans or option in ("--scan", "--bigkeys")
        if option in ("--pattern", "--quoted-pattern"):
            pattern = value or (words[place + 1] if place + 1 < len(words) else None)
        place += 2 if option in _TAKES_VALUE and not value else 1
    given = words[place:]
    if scans:
        if "--pattern" in given[:-1]:
            pattern = given[given.index("--pattern") + 1]
        text = None if pattern is None else text_of(pattern, variables)
        return [Act("searches", text.as_pattern() if text else None, None, text.settings if text else frozenset())]
    if not given and before[:1] in (["echo"], ["printf"]):
        given = [word for word in " ".join(before[1:]).replace("\\n", " ").split() if not word.startswith("-")]
    texts = [text_of(word, variables) for word in given]
    if from_xargs and texts:
        texts += searched or [ANY]
    elif searched:
        # for key in $(redis-cli keys P); do redis-cli del $key: of a variable, what was searched.
        texts = texts[:1] + [one for text in texts[1:] for one in (searched if text.as_key() == "*" else [text])]
    return acts_of(texts)


def _of_server(words: list[str]) -> list[Act]:
    """``redis-server --maxmemory-policy allkeys-lru``."""
    names = [word[2:].partition("=")[0] for word in words if word.startswith("--")]
    return [Act("sets", None, None, frozenset((name,))) for name in names if SERVER_SETTINGS.fullmatch(name)]


def _of_celery(words: list[str]) -> list[Act]:
    """``celery -A app purge -Q a,b``; without -Q all queues of the app, of which the default one is ``celery``."""
    if "queue.purge" in words:
        return [Act("purges", known(name).as_key() + "*") for name in words[words.index("queue.purge") + 1 :][:1]]
    for place, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in ("-Q", "--queues"):
            value = value or (words[place + 1] if place + 1 < len(words) else "")
            return [Act("purges", (text_of(name, {}) + ANY).as_key()) for name in value.split(",") if name]
    return [Act("purges", "celery*")]


def text_of(word: str, variables: Mapping[str, Text]) -> Text:
    """A word of a command line, of which a variable is what the file assigned it, else any."""
    found, at = known(""), 0
    for hole in _VARIABLE.finditer(word):
        name = hole["braced"] or hole["plain"] or ""
        found += known(word[at : hole.start()])
        found += _named(name, variables)
        at = hole.end()
    return found + known(word[at:])


def _named(name: str, variables: Mapping[str, Text]) -> Text:
    if name not in variables:
        return ANY
    return variables[name].named(name) if variables[name].literal is not None else variables[name]


def learn(line: str, acts: list[Act], variables: dict[str, Text]) -> None:
    """Keep what a line assigns: literals, and to the variable of a loop or a read what the line searches for."""
    for found in _ASSIGNED.finditer(line[:_LONGEST]):
        if len(variables) < 500:
            variables[found["name"]] = known(found["value"].strip("\"'"))
    searched = [act for act in acts if act.does == "searches"]
    if searched:
        for taken in _TAKES_SEARCH.finditer(line[:_LONGEST]):
            name = taken["each"] or taken["all"] or taken["read"]
            variables[name] = matching(searched[-1].pattern or "*").named(*searched[-1].settings)
