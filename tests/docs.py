#!/usr/bin/env python3
"""Fails where the documentation names a path that is not there, or where a source folder lacks its row in architecture.md."""
import pathlib
import re
import subprocess
import sys

# `kernels/gemm/gemm.hpp`, `runtime/host/`: in backquotes, under a folder of the root.
PATH = re.compile(r"`((?:kernels|graph|actors|runtime|configs|tests|examples|docs)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
SOURCE = (".hpp", ".cpp")


def tracked(root):
    return subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split("\n")


def missing_paths(root, pages):
    errors = []
    for page in pages:
        in_code = False
        for number, line in enumerate((root / page).read_text().splitlines(), 1):
            in_code ^= line.startswith("```")
            if in_code:
                continue
            targets = [root / path for path in PATH.findall(line)]
            targets += [(root / page).parent / link for link in LINK.findall(line)]
            errors += [f"{page}:{number}: there is no {path}" for path in targets if not path.exists()]
    return errors


def folders_without_row(root, files):
    rows = (root / "docs/architecture.md").read_text()
    folders = {str(pathlib.PurePosixPath(file).parent) for file in files if file.endswith(SOURCE)}
    shown = sorted(f for f in folders if not f.startswith(("tests/", "examples/")))
    return [f"docs/architecture.md: no row for `{folder}/`" for folder in shown if f"`{folder}/`" not in rows]


if __name__ == "__main__":
    here = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    all_files = tracked(here)
    found = missing_paths(here, [f for f in all_files if f.endswith(".md") and not f.startswith("tests/data")])
    found += folders_without_row(here, all_files)
    print("\n".join(found))
    sys.exit(bool(found))
