"""The image: not root, small, read-only, without rights, and without anything in it that it should not carry."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import uuid
from collections.abc import Iterator

import pytest

from tests.deploy.stack import ROOT, docker, docker_json, wait_for

pytestmark = pytest.mark.compose
LARGEST = 400_000_000
UID = 10001
PORTS = {"hub": 55055, "writer": 55056, "filewatch": 55057, "dashboard": 8080}
LOCKED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--network", "none"]
SECRET_NAME = re.compile(
    r"(^|/)(\.env(\..*)?|\.git|\.netrc|\.pypirc|\.pgpass|\.erlang\.cookie|id_(rsa|dsa|ecdsa|ed25519).*|"
    r".*\.(key|p12|pfx|jks|kdbx)|.*[-_.](secret|token|password)s?(\.txt)?)$"
)
RULES = ("pam.d/common-password", "share/pam/common-password", "share/pam/common-password.md5sums")
"""The system's rules for changing a password."""
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=\r\n]{64}")


def test_it_does_not_run_as_root(image: str) -> None:
    (about,) = docker_json("image", "inspect", image)
    assert about["Config"]["User"] == f"{UID}:{UID}"
    told = docker("run", "--rm", *LOCKED, "--entrypoint", "python", image, "-c", "import os; print(os.getuid())")
    assert told.strip() == str(UID)


def test_it_is_small(image: str, record_property: pytest.RecordProperty, capsys: pytest.CaptureFixture[str]) -> None:
    size = docker_json("image", "inspect", image)[0]["Size"]
    record_property("image_bytes", size)
    with capsys.disabled():
        print(f"\nThe image has {size / 1e6:.0f} MB")
    assert size < LARGEST


def test_nothing_of_the_building_is_left_in_its_settings(image: str) -> None:
    (about,) = docker_json("image", "inspect", image)
    assert not [variable for variable in about["Config"]["Env"] if variable.startswith(("PIP_", "UV_"))]
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert "PIP_INDEX_URL" not in history


def test_nothing_of_the_program_can_be_changed_by_who_runs_it(image: str) -> None:
    code = (
        "import os; print([os.path.join(d, n) for d, ds, fs in os.walk('/opt') for n in (*ds, *fs) "
        "if os.access(os.path.join(d, n), os.W_OK) and not os.path.islink(os.path.join(d, n))])"
    )
    assert docker("run", "--rm", "--entrypoint", "python", image, "-c", code).strip() == "[]"


def layers(image: str) -> Iterator[tuple[str, tarfile.TarFile]]:
    saved = subprocess.run(["docker", "save", image], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]
        for name in manifest[0]["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(name)) as layer:
                yield name, layer


def test_no_layer_holds_anything_secret(image: str) -> None:
    found, files = [], 0
    for _, layer in layers(image):
        for member in layer:
            files += 1
            if SECRET_NAME.search(member.name) and not member.name.endswith(RULES):
                found.append(member.name)
            # Keys that tests of libraries use stand in source files, and tests are not in the image.
            if member.isfile() and member.size < 1_000_000 and not member.name.endswith((".py", ".pyc", ".so", ".js")):
                content = layer.extractfile(member)
                if content is not None and PRIVATE_KEY.search(content.read()):
                    found.append(member.name)
    assert files > 5000
    assert found == []


def test_tests_and_tools_for_building_are_not_in_it(image: str) -> None:
    names = ("pip", "pytest", "hatchling", "pandas", "parsl")
    code = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    assert docker("run", "--rm", "--entrypoint", "/opt/heliograph/bin/python", image, "-c", code).strip() == "[]"


def said(container: str) -> str:
    """Its log, which roles write to stderr."""
    command = ["docker", "logs", container]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout


def test_all_roles_run_with_a_read_only_root_and_no_rights(image: str) -> None:
    """`up` starts every role as a process of its own; here with one folder to write to, and nothing else."""
    name = f"heliograph-test-{uuid.uuid4().hex[:8]}"
    folder = f"/var/lib/heliograph:uid={UID},gid={UID},mode=0700"
    watch = ["-v", f"{ROOT}/helm/heliograph/files/watch.toml:/watch.toml:ro", "-e"]
    watch.append("HELIOGRAPH_FILEWATCH_CONFIG=/watch.toml")
    docker(
        "run", "-d", "--name", name, *LOCKED, *watch, "--tmpfs", folder, image, "up", "--data", "/var/lib/heliograph"
    )
    probe = ["docker", "exec", name, "python", "-m", "heliograph_server.probe"]

    def ready(port: int) -> bool:
        done = subprocess.run([*probe, f"http://127.0.0.1:{port}/readyz"], capture_output=True, check=False)
        return done.returncode == 0

    try:
        wait_for(lambda: all(map(ready, PORTS.values())), 240, lambda: said(name))
        processes = docker("top", name, "-o", "pid,uid,args")
        for role in PORTS:
            assert re.search(rf" {UID} .*heliograph_server {role}\b", processes), processes
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=True)
