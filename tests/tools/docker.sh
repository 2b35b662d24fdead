#!/usr/bin/env bash
# Sees to what the deployment tests need: a Docker engine with Compose, and the official images that compose.yaml names.
# What is there is used as it is; images are pulled. Where that does not do, HELIOGRAPH_TEST_DOCKER_UP may name a command
# that brings engine and images; without it an installed engine is started (as root).
set -euo pipefail
cd "$(dirname "$0")/../.."

engine() { docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

images() {
    local image
    for image in $(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile) \
        $(docker compose --profile '*' config --images | grep -v '^heliograph:' | sort -u); do
        docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >/dev/null || return 1
    done
}

engine && images && exit 0
if [ -n "${HELIOGRAPH_TEST_DOCKER_UP:-}" ]; then
    bash -c "$HELIOGRAPH_TEST_DOCKER_UP" >&2
elif [ "$(id -u)" -eq 0 ] && command -v dockerd >/dev/null && ! docker info >/dev/null 2>&1; then
    setsid dockerd >"$(mktemp)" 2>&1 </dev/null &
    for _ in $(seq 150); do docker info >/dev/null 2>&1 && break; sleep 0.2; done
fi
engine && images && exit 0
echo "The deployment tests need a Docker engine with Compose ('docker info' and 'docker compose version' must work) and the" \
    "images of compose.yaml; start one, or name a command that does in HELIOGRAPH_TEST_DOCKER_UP." >&2
exit 2
