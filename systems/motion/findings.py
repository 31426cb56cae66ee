"""What verification of a clip has to say, by kind, so that a thousand clips take a few lines."""

from collections import Counter
from collections.abc import Sequence

import attrs


@attrs.frozen
class ClipFinding:
    """One sentence about one clip, and what it is about."""

    kind: str  # "feet under the floor", say: completes "3 of …"
    text: str


def bounded(findings: Sequence[ClipFinding], most: int) -> list[str]:
    """The first `most` sentences and, where there are more, how many of which kind follow."""
    lines = [finding.text for finding in findings[:most]]
    rest = Counter(finding.kind for finding in findings[most:])
    if rest:
        kinds = ", ".join(f"{number} of {kind}" for kind, number in rest.most_common())
        lines.append(f"{rest.total()} more warnings about clips ({kinds}); all are in MotionLibrary.warnings.")
    return lines
