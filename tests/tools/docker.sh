#!/usr/bin/env bash
# Sees to a Docker engine with Compose for the deployment tests. One that answers is used as it is. Otherwise
# HELIOGRAPH_TEST_DOCKER_UP names a command that brings one; otherwise, as root, an installed engine is started.
set -euo pipefail

ready() { docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

ready && exit 0
if [ -n "${HELIOGRAPH_TEST_DOCKER_UP:-}" ]; then
    bash -c "$HELIOGRAPH_TEST_DOCKER_UP" >&2
elif [ "$(id -u)" -eq 0 ] && command -v dockerd >/dev/null && ! docker info >/dev/null 2>&1; then
    log=$(mktemp)
    setsid dockerd >"$log" 2>&1 </dev/null &
    for _ in $(seq 150); do docker info >/dev/null 2>&1 && break; sleep 0.2; done
fi
ready && exit 0
echo "The deployment tests need a Docker engine with Compose: start one ('docker info' and 'docker compose version' must work)" \
    "or name a command that does in HELIOGRAPH_TEST_DOCKER_UP." >&2
exit 2
