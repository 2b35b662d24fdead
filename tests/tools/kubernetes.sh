#!/usr/bin/env bash
# Sees to what the chart's tests need: a cluster that kubectl reaches (KUBECONFIG), and our image in it.
#
#   HELIOGRAPH_TEST_IMAGE           an image that the cluster can pull; without it heliograph:kubernetes-test is built here
#   HELIOGRAPH_TEST_KUBERNETES_UP   a command that brings the cluster, or images into it: it gets their names appended
#                                   (`kind load docker-image`)
set -euo pipefail
cd "$(dirname "$0")/../.."
image=${HELIOGRAPH_TEST_IMAGE:-heliograph:kubernetes-test}

if [ -z "${HELIOGRAPH_TEST_IMAGE:-}" ]; then
    HELIOGRAPH_VERSION=${image#*:} docker compose --progress=quiet build init >&2
fi
if [ -n "${HELIOGRAPH_TEST_KUBERNETES_UP:-}" ]; then
    # shellcheck disable=SC2016
    bash -c "$HELIOGRAPH_TEST_KUBERNETES_UP "'"$@"' -- "$image" rabbitmq:3-management postgres:15 >&2
fi
if ! kubectl get nodes >&2; then
    echo "The chart's tests need a Kubernetes cluster: name one with KUBECONFIG, or a command that brings it with" \
        "HELIOGRAPH_TEST_KUBERNETES_UP." >&2
    exit 2
fi
