"""What a check finds: one line with a mark, and what to do. Standard library only."""

from collections.abc import Iterable
from dataclasses import dataclass

OK, LOOK, WRONG = "ok", "look", "wrong"


@dataclass(frozen=True)
class Finding:
    """One answer: `mark` is OK, LOOK (it may be meant so) or WRONG; `advice` says what to do."""

    mark: str
    text: str
    advice: str = ""


def findings_text(findings: Iterable[Finding]) -> str:
    """Return findings as lines; what to do stands below what was found."""
    lines = []
    for finding in findings:
        first, *more = finding.text.splitlines()
        lines.append(f"  {finding.mark:<5}  {first}")
        lines += [f"         {line}" for line in more]
        lines += [f"         -> {line}" for line in finding.advice.splitlines()]
    return "\n".join(lines)


def verdict(findings: Iterable[Finding]) -> str:
    """Return the last line: how much is wrong."""
    marks = [finding.mark for finding in findings]
    wrong, look = marks.count(WRONG), marks.count(LOOK)
    if wrong:
        return f"{wrong} wrong, {look} to look at."
    return f"Nothing is wrong; {look} to look at." if look else "All is well."
