"""The line of a failing program's output that names the cause.

Programs end with advice, usage or a stack as often as with the reason, so neither the first nor the last line will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from foundation.text import last_line, printable

_PYTHON_FRAME = re.compile(r'^(\s*)  File ".*", line \d+')
# Lines of these forms give the reason, whatever precedes them: C++'s terminate, Java's innermost exception.
_REASONS = (re.compile(r"^\s*what\(\):\s*(?P<reason>.+)"), re.compile(r"^Caused by: (?P<reason>.+)"))
# A panic in Rust has the reason on the next line.
_PANIC = re.compile(r"panicked at \S+:\d+:\d+:$")
_PLAIN = re.compile(
    r"\b(?:error|fatal|panic|exception|fail(?:ed|ure|s)?|can't|can ?not|could ?n[o']t|could not|unable|denied|refused|"
    r"not permitted|no such|no space|not found|does ?n[o']t exist|does not exist|out of memory|timed out|aborted)\b"
    r"|\w(?:Error|Exception)\b",
    re.IGNORECASE,
)
_LIKELY = re.compile(
    r"\b(?:invalid|illegal|unknown|unrecogni[sz]ed|missing|unsupported|not supported|not installed|not running|"
    r"is ?n[o']t|is not|did ?n[o']t|did not|must|no|needs?|required|busy|already in use|broken|corrupt(?:ed)?)\b",
    re.IGNORECASE,
)
# Advice, pointers to documentation, and warnings that didn't stop the program.
_ASIDE = re.compile(
    r"^\W*(?:try|see|hint|notes?|usage|use|run|please|for more|for help|more info\w*|did you mean|consider|help|tip|"
    r"info|debug|trace|check|make sure|you (?:may|can|need|should)|to (?:fix|resolve|install)|install|read)\b"
    r"|\bwarning\b|\w+Warning:|^[WI]\d{4} |\b(?:0|no) (?:errors?|failures?|failed)\b",
    re.IGNORECASE,
)
# A stack frame of Java (" at com.example.Main") or of a panic.
_FRAME = re.compile(r"^\s+(?:at |\.\.\. \d+ more)|^\s*\d+: 0x")


def cause_line(*outputs: str, limit: int = 160) -> str:
    """Returns `: ` and the line that names the cause, as the end of a message; empty if nothing was printed.

    `outputs` are in order of preference (error output first): the first one that names a cause counts. If none does,
    the last line that isn't advice is used.
    """
    for output in outputs:
        line = _cause(output.splitlines())
        if line is not None:
            return f": {printable(line, limit)}"
    printed = next((output for output in outputs if output.strip()), "")
    plain = "\n".join(line for line in printed.splitlines() if not _ASIDE.search(line))
    return last_line(plain, limit) or last_line(printed, limit)


def _cause(lines: Sequence[str]) -> str | None:
    raised = _raised(lines)
    if raised is not None:
        return raised
    for form in _REASONS:
        found = [match["reason"] for line in lines if (match := form.match(line))]
        if found:
            return found[-1]
    for line, following in pairwise(lines):
        if _PANIC.search(line) and following.strip():
            return following
    plain = [line for line in lines if line.strip() and not _ASIDE.search(line) and not _FRAME.match(line)]
    return next((line for words in (_PLAIN, _LIKELY) for line in plain if words.search(line)), None)


def _raised(lines: Sequence[str]) -> str | None:
    """Returns the exception of Python's last traceback: the first line after it that isn't indented."""
    frames = [(number, match.end(1)) for number, line in enumerate(lines) if (match := _PYTHON_FRAME.match(line))]
    if not frames:
        return None
    last, margin = frames[-1]
    rest = (line[margin:] for line in lines[last + 1 :])
    return next((line for line in rest if line.strip() and not line[0].isspace()), None)
