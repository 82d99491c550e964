"""Findings of the checks: one line with a mark, and advice. Standard library only."""

from collections.abc import Iterable
from dataclasses import dataclass

OK, LOOK, WRONG = "ok", "look", "wrong"


@dataclass(frozen=True)
class Finding:
    """One finding: `mark` is OK, LOOK (may be intended) or WRONG; `advice` says what to do."""

    mark: str
    text: str
    advice: str = ""


def findings_text(findings: Iterable[Finding]) -> str:
    """Return findings as lines, each followed by its advice."""
    lines = []
    for finding in findings:
        first, *more = finding.text.splitlines()
        lines.append(f"  {finding.mark:<5}  {first}")
        lines += [f"         {line}" for line in more]
        lines += [f"         -> {line}" for line in finding.advice.splitlines()]
    return "\n".join(lines)


def verdict(findings: Iterable[Finding]) -> str:
    """Return the last line, with the number of problems."""
    marks = [finding.mark for finding in findings]
    wrong, look = marks.count(WRONG), marks.count(LOOK)
    if wrong:
        return f"{wrong} wrong, {look} to look at."
    return f"Nothing is wrong; {look} to look at." if look else "All is well."
