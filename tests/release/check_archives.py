"""
Check what is uploaded: ``python tests/release/check_archives.py FOLDER``.

The wheel has the package and its licence, the source archive the files that git
knows, and neither has anything else.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def list_tracked(*folders: str) -> set[str]:
    """
    Return the files that git knows, those in folders only if some are named.
    """
    words = ["git", "ls-files", "-z", *folders]
    output = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in output.split("\0") if name}


def check_wheel(path: Path) -> None:
    """
    Check that a wheel has every file of the package, and no other besides its metadata.

    Raises:
        SystemExit: a file is missing, or is too much; the message names them.
    """
    with zipfile.ZipFile(path) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    compare(path, found, {name.removeprefix("src/") for name in list_tracked("src")})
    wanted = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    compare(path, metadata, wanted)


def check_source(path: Path) -> None:
    """
    Check that a source archive has nothing that git does not know, and what a build needs.

    Raises:
        SystemExit: a file is missing, or is too much; the message names them.
    """
    with tarfile.open(path) as archive:
        names = [member.name for member in archive if member.isfile()]
    found = {name.partition("/")[2] for name in names} - {"PKG-INFO"}
    tracked = list_tracked()
    needed = {"LICENSE", "README.md", "pyproject.toml", *list_tracked("src", "tests")}
    compare(path, found - tracked, set())
    compare(path, found & needed, needed)


def compare(path: Path, found: set[str], wanted: set[str]) -> None:
    """
    Check that an archive has the files that it should have.

    Raises:
        SystemExit: it has others.
    """
    if found != wanted:
        missing, more = sorted(wanted - found), sorted(found - wanted)
        raise SystemExit(f"{path.name} lacks {missing} and should not have {more}")


def main(folder: Path) -> None:
    """
    Check one wheel and one source archive.
    """
    [wheel], [source] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_wheel(wheel)
    check_source(source)
    print(f"{wheel.name} and {source.name} have what they should have, and nothing else")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
