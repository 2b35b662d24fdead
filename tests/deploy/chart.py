"""Helm for the tests of the chart: rendering it, and what it says when it refuses.

In: values files and settings. Out: Kubernetes objects as dictionaries; or the text of the refusal.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "heliograph"
FILES = CHART / "files"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
ROLES = ("dashboard", "filewatch", "hub", "writer")
Object = dict[str, Any]


def tool(name: str) -> str:
    """Path of helm or kubectl: on the PATH, or where `make test` puts it."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{Path(sys.executable).parent}")
    assert path, f"{name} is not on the PATH; `tests/tools/helm.sh .venv` brings it"
    return path


def helm(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """One run of helm, away from any cluster and from settings of whoever runs the tests."""
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    return subprocess.run(
        [tool("helm"), *map(str, words)], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def template(*words: str | Path, chart: Path = CHART, release: str = "heliograph") -> subprocess.CompletedProcess[str]:
    return helm("template", release, chart, *words)


@cache
def rendered(example: str, *settings: str, release: str = "heliograph") -> tuple[Object, ...]:
    """The objects of an example, with further settings `name=value`."""
    return objects("-f", CHART / "examples" / f"{example}.yaml", *_flags(settings), release=release)


def objects(*words: str | Path, chart: Path = CHART, release: str = "heliograph") -> tuple[Object, ...]:
    ran = template(*words, chart=chart, release=release)
    assert ran.returncode == 0, ran.stderr
    return tuple(found for found in yaml.safe_load_all(ran.stdout) if found)


def refused(example: str, *settings: str) -> str:
    """What helm says, in one string, about values that it must not take."""
    ran = template("-f", CHART / "examples" / f"{example}.yaml", *_flags(settings))
    assert ran.returncode != 0, f"{settings} was taken"
    return ran.stderr


def _flags(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def of_kind(found: tuple[Object, ...], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pods(found: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Name and spec of every pod, also of those that are made from templates."""
    for each in found:
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]
        elif each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]
