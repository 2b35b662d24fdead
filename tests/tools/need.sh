#!/usr/bin/env bash
# Sees to what the tests start as private processes: RabbitMQ, PostgreSQL, Graphviz for parsl-visualize's graphs, openssl
# for certificates, systemd-analyze for the unit, ps, and Chromium for the dashboard's pages.
# As root on Debian they are installed when they are absent; otherwise one line says what to install.
set -euo pipefail

missing=()
compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin' >/dev/null || missing+=(rabbitmq-server)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
command -v dot >/dev/null || missing+=(graphviz)
command -v openssl >/dev/null || missing+=(openssl)
command -v systemd-analyze >/dev/null || missing+=(systemd)
{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || missing+=(chromium)
command -v ps >/dev/null || missing+=(procps)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "The tests need ${missing[*]}: install with 'apt-get install --no-install-recommends ${missing[*]}', then run again." >&2
    exit 2
fi
echo "Installing ${missing[*]} for the tests"
export DEBIAN_FRONTEND=noninteractive
# A package's own server must not start: the tests bring up private ones.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
