"""Files under another name, without a copy where the file system allows it."""

import os
import shutil
from pathlib import Path

from lib.errors import ConfigError


def link_file(source: str | Path, path: str | Path) -> None:
    """Make `path` stand for the file `source`: a relative symbolic link, else a hard link, else a copy.

    A relative link survives moving the folder that holds both. `path` must not exist.

    Raises:
        ConfigError: there is no file `source`.
    """
    source, path = Path(source), Path(path)
    if not source.is_file():
        raise ConfigError(
            f"there is no file {source}, though it was measured. Remove its scan's measures to remake it"
        )
    try:
        os.symlink(os.path.relpath(source, path.parent), path)
        if path.exists():
            return
        path.unlink()  # a folder in between is itself a link to elsewhere
    except OSError:
        pass
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
