#!/usr/bin/env bash
# Build the image and run an audit inside it, without a container engine and without a registry of
# images: the base is made with debootstrap, the build is buildah's with chroot isolation.
# Needs root, buildah and debootstrap (Debian: apt-get install buildah debootstrap).
# Takes some minutes and about 5 GB below build/deploy. CI runs hadolint and promtool only.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/build/deploy
base=localhost/stageaudit-base:1
image=localhost/stageaudit:check
steps=()
started=$SECONDS

# Everything buildah keeps stays below build/, away from other images of this machine.
store() { buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }

step() {
  local name=$1 before=$SECONDS
  shift
  echo "== $name"
  if "$@"; then
    steps+=("ok    $((SECONDS - before)) s  $name")
  else
    steps+=("FAIL  $((SECONDS - before)) s  $name")
    summary
    exit 1
  fi
}

summary() {
  echo "== summary ($((SECONDS - started)) s)"
  printf '%s\n' "${steps[@]}"
}

make_base() {
  store inspect --type image "$base" >/dev/null 2>&1 && return 0
  rm -rf "$work/rootfs"
  debootstrap --variant=minbase --include=python3,python3-venv bookworm "$work/rootfs" \
    >"$work/debootstrap.log" || { tail -n 5 "$work/debootstrap.log"; return 1; }
  local container
  container=$(store from scratch)
  store copy -q "$container" "$work/rootfs" / >/dev/null
  store commit -q "$container" "$base" >/dev/null
  store rm "$container" >/dev/null
  rm -rf "$work/rootfs"
}

build_image() {
  store bud --quiet --format docker --isolation chroot --build-arg "BASE_IMAGE=$base" \
    --tag "$image" . >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; return 1; }
  echo "entry point $(store inspect --type image --format '{{.Docker.Config.Entrypoint}}' "$image")," \
    "user $(store inspect --type image --format '{{.Docker.Config.User}}' "$image")," \
    "stop signal $(store inspect --type image --format '{{.Docker.Config.StopSignal}}' "$image")"
}

# As the image's own user, with its environment. Chroot isolation has no network namespace of its
# own, so everything inside takes free ports.
inside() { store run --isolation chroot --user 10001:10001 "$container" -- "$@"; }

is_unprivileged() { [ "$(inside id -u)" = 10001 ]; }

root_is_closed() {
  # What the service may write is its volume and /tmp, nothing of the installation.
  inside sh -c '! touch /opt/stageaudit/x 2>/dev/null && touch /var/lib/stageaudit/x'
}

# Start the service, wait until it is ready, and stop it as a container engine would.
serves_and_drains() {
  inside python3 - <<'PYTHON'
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

metrics_port = 17461
service = subprocess.Popen(
    ["stageaudit", "serve", "--port", "0", "--metrics-port", str(metrics_port)]
)
url = f"http://127.0.0.1:{metrics_port}/readyz"
for _ in range(120):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                break
    except OSError:
        pass
    try:
        service.wait(timeout=1)
    except subprocess.TimeoutExpired:
        continue
    sys.exit(f"the service ended with {service.returncode} before it was ready")
else:
    service.kill()
    sys.exit("the service was not ready within two minutes")
subprocess.run(["stageaudit", "doctor"], check=True)
service.send_signal(signal.SIGTERM)
code = service.wait(timeout=120)
print(f"ready, drained, exit code {code}")
sys.exit(code)
PYTHON
}

[ "$(id -u)" -eq 0 ] || { echo "needs root for debootstrap and chroot"; exit 2; }
for program in buildah debootstrap; do
  command -v "$program" >/dev/null || { echo "needs $program"; exit 2; }
done
mkdir -p "$work"

step "wheels" env EXTRA=demo deploy/wheels.sh
step "base image (debootstrap)" make_base
step "build the image" build_image
container=$(store from --pull-never "$image")
trap 'store rm "$container" >/dev/null 2>&1 || true' EXIT
step "runs unprivileged" is_unprivileged
step "installation is not writable, data folder is" root_is_closed
step "serve, doctor, drain" serves_and_drains
step "record, push, audit, sign, verify (demo)" inside stageaudit demo
summary
