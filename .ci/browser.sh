#!/usr/bin/env bash
# Chromium, for the tests that open the HTML page. Without it they are skipped with a reason, so nothing here may fail.
set -uo pipefail

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "no Chromium, and no way to install one here: its tests are skipped" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
{
  timeout 120 apt-get -q -o Acquire::Retries=1 -o Acquire::http::Timeout=15 update &&
    timeout 600 apt-get -q -y -o Acquire::Retries=1 -o Acquire::http::Timeout=30 install --no-install-recommends chromium
} >&2 || echo "Chromium could not be installed: its tests are skipped" >&2
exit 0
