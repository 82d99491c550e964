"""Which finished models a study predicts with, in digests. Standard library only (read at each parse)."""

import hashlib
import json
from pathlib import Path


def model_digests(folder: str | Path) -> dict[str, str]:
    """Return a digest of each trained fold in a folder of `fold-*`, by `{cohort}/{model}/fold-{fold}`.

    It is that of run.json, which is written once, when the fold has been trained. A path is not in it.
    """
    digests = {}
    for path in sorted(Path(folder).glob("fold-*/run.json")):
        content = path.read_bytes()
        run = json.loads(content)
        digests[f"{run['cohort']}/{run['model']}/{path.parent.name}"] = hashlib.sha256(content).hexdigest()[
            :16
        ]
    return digests
