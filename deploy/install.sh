#!/usr/bin/env bash
# Installs, upgrades and removes edge-agent as a systemd service. Run it again at any time: what is
# there already is left alone.
set -euo pipefail

readonly ROOT=/opt/edge-agent SETTINGS=/etc/edge-agent STATE=/var/lib/edge-agent
readonly UNITS=/etc/systemd/system OWNER=edge-agent
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO

usage() {
  cat <<'END'
deploy/install.sh [install] [OPTIONS]    install, or upgrade to the version that this script came with
deploy/install.sh uninstall [--purge]    remove the service; with --purge settings, journal and images too

  --runtime cpu|openvino|gpu  which ONNX Runtime; without it: what the hardware found suggests
  --bundle DIR|demo           the model that a new station judges with; it is started then
  --station NAME              one of several stations on this machine: edge-agent@NAME
  --inbox DIR                 where a new station's camera drops images (default: in /var/lib/edge-agent)
  --wheels DIR                install from this folder, without a network (make wheels fills one)
  --python PROGRAM            which Python, 3.10 or later (default: python3)
  --dry-run                   say what would be done, and do nothing

An upgrade is made beside the version that runs. That one is replaced only after the new one has
judged the golden images of every station, and comes back if a station does not start with the new.
END
}

fail() { echo "install.sh: $*" >&2; exit 2; }
say() { echo "install.sh: $*"; }
run() { if [ "$dry" = 1 ]; then printf '+'; printf ' %q' "$@"; echo; else "$@"; fi; }

main() {
  local command=install
  runtime='' bundle='' station='' inbox='' wheels='' python=python3 dry=0 purge=0
  case "${1:-}" in install | uninstall) command=$1; shift ;; esac
  while [ $# -gt 0 ]; do
    case $1 in
      --runtime | --bundle | --station | --inbox | --wheels | --python)
        [ $# -ge 2 ] || fail "$1 needs a value; --help shows all there is"
        printf -v "${1#--}" '%s' "$2"; shift 2 ;;
      --dry-run) dry=1; shift ;;
      --purge) purge=1; shift ;;
      -h | --help) usage; exit 0 ;;
      *) fail "$1 is not known; --help shows all there is" ;;
    esac
  done
  if [ "$dry" = 0 ] && [ "$(id -u)" != 0 ]; then fail "must be run as root: sudo $0"; fi
  [ "$dry" = 1 ] || command -v systemctl >/dev/null || fail "there is no systemd on this machine"
  if [ "$command" = install ]; then set_up; else tear_down; fi
}

# -- install and upgrade -----------------------------------------------------------------------------

set_up() {
  check_options
  make_owner
  local release before
  release=$ROOT/releases/$(release_name)
  before=$(readlink "$ROOT/current" 2>/dev/null || true)
  make_release "$release"
  make_station "$release"
  judge_golden "$release"
  install_units
  if [ "$before" != "$release" ]; then switch_to "$release"; fi
  run systemctl daemon-reload
  run systemctl enable --quiet "$unit"
  restart_stations "$release" "$before"
  drop_old_releases "$release" "$before"
  next_steps
}

check_options() {
  case ${runtime:=$(suggest_runtime)} in
    cpu | openvino | gpu) ;;
    *) fail "--runtime $runtime is none of cpu, openvino, gpu" ;;
  esac
  [[ $station =~ ^[A-Za-z0-9_-]*$ ]] || fail "--station $station: letters, digits, - and _ only"
  unit=edge-agent.service config=$SETTINGS/station.toml home=$STATE secret=$SETTINGS/mqtt
  if [ -n "$station" ]; then
    unit=edge-agent@$station.service config=$SETTINGS/$station.toml home=$STATE/$station
    secret=$SETTINGS/$station.mqtt
  fi
  [[ ${inbox:=$home/inbox} == /* ]] || fail "--inbox $inbox: give the whole path, from /"
  [ "$bundle" != demo ] || bundle=$REPO/edge_agent/demo/bundle
  [ -z "$bundle" ] || [ -f "$bundle/manifest.json" ] ||
    fail "--bundle $bundle is no bundle: give the folder that trainer wrote, RUN/bundle"
  [ -z "$wheels" ] || compgen -G "$wheels/edge_inspect-*.whl" >/dev/null ||
    fail "--wheels $wheels has no edge_inspect-*.whl: fill it with make wheels RUNTIME=$runtime"
  command -v "$python" >/dev/null || fail "$python is not installed: apt-get install python3"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old: 3.10 or later, by --python"
  "$python" -c 'import ensurepip' 2>/dev/null ||
    fail "$python has no module venv: apt-get install python3-venv"
}

suggest_runtime() {
  if [ -e /dev/nvidiactl ] || [ -e /dev/nvidia0 ]; then
    echo gpu
  elif [ -d /dev/accel ] || grep -qs 0x8086 /sys/class/drm/renderD*/device/vendor ||
    grep -qs GenuineIntel /proc/cpuinfo; then
    echo openvino
  else
    echo cpu
  fi
}

make_owner() {
  getent passwd "$OWNER" >/dev/null ||
    run useradd --system --user-group --home-dir "$STATE" --no-create-home \
      --shell /usr/sbin/nologin "$OWNER"
  if [ "$runtime" = openvino ]; then run groupadd --system --force render; fi
}

# Version, runtime and a hash of what is installed: the same again is the same release.
release_name() {
  local version print
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$REPO/pyproject.toml")
  if [ -n "$wheels" ]; then
    print=$(cd "$wheels" && sha256sum ./*.whl | sha256sum)
  else
    print=$(cd "$REPO" && find edge_agent trainer pyproject.toml deploy/constraints.txt -type f \
      ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  fi
  echo "$version-$runtime-${print:0:12}"
}

make_release() {
  if [ -e "$1/.complete" ]; then say "$1 is there already"; return; fi
  say "installing $1"
  run rm -rf "$1"
  run mkdir -p "$ROOT/releases"
  run "$python" -m venv "$1"
  local pip=("$1/bin/pip" install --quiet --disable-pip-version-check)
  if [ -n "$wheels" ]; then
    run "${pip[@]}" --no-index --find-links "$wheels" "edge-inspect[$runtime]"
  else  # from a copy: building leaves files behind
    local copy
    copy=$(mktemp -d)
    cp -r "$REPO"/{edge_agent,trainer,pyproject.toml,README.md,LICENSE} "$copy"
    run "${pip[@]}" --constraint "$REPO/deploy/constraints.txt" "${copy}[$runtime]"
    rm -rf "$copy"
  fi
  run touch "$1/.complete"
}

# Folders, secrets and settings of a station that isn't there yet.
make_station() {
  run install -d -m 0755 "$ROOT"
  run install -d -m 0750 -g "$OWNER" "$SETTINGS"
  run install -d -m 0750 -o "$OWNER" -g "$OWNER" "$STATE" "$home"
  local file
  for file in "$secret-password" "$secret.key"; do  # the unit loads both, empty or not
    [ -e "$file" ] || run install -m 0600 /dev/null "$file"
  done
  if [ -e "$config" ]; then
    say "$config is left as it is"
    [ -z "$bundle" ] || say "--bundle is for a new station; this one's is named in $config"
    return
  fi
  # Group-writable, and what is dropped belongs to the group: a camera's user only has to join it.
  run install -d -m 2770 -o "$OWNER" -g "$OWNER" "$inbox"
  local place=$home/bundle
  if [ -n "$bundle" ]; then
    place=$home/bundles/$(bundle_name)
    run install -d -m 0755 "$home/bundles"
    run cp -rT "$bundle" "$place"
    run chmod -R u=rwX,go=rX "$place"
  fi
  say "writing $config"
  [ "$dry" = 1 ] || sed -e "s|^bundle = .*|bundle = \"$place\"|" -e "s|^path = .*|path = \"$inbox\"|" \
    -e "s|^root = .*|root = \"$home/state\"|" "$REPO/deploy/examples/station.toml" |
    install -m 0640 -g "$OWNER" /dev/stdin "$config"
}

bundle_name() {
  "$python" -c 'import json, sys; m = json.load(open(sys.argv[1])); print(m["name"], m["version"])' \
    "$bundle/manifest.json" | tr -c 'A-Za-z0-9._\n-' -
}

install_units() {
  local own=$UNITS/$unit.d name
  run install -m 0644 "$REPO/deploy/systemd/edge-agent.service" \
    "$REPO/deploy/systemd/edge-agent@.service" "$UNITS"
  # For the whole machine: both kinds of unit read the drop-ins of their own name.
  for name in edge-agent.service edge-agent@.service; do
    run mkdir -p "$UNITS/$name.d"
    run rm -f "$UNITS/$name.d/openvino.conf" "$UNITS/$name.d/gpu.conf"
    [ "$runtime" = cpu ] ||
      run install -m 0644 "$REPO/deploy/systemd/dropins/$runtime.conf" "$UNITS/$name.d"
    if [ "$(systemd_version)" -ge 254 ]; then
      run install -m 0644 "$REPO/deploy/systemd/dropins/backoff.conf" "$UNITS/$name.d"
    fi
  done
  if [[ $inbox != "$STATE"/* && ! -e $own/inbox.conf ]]; then
    run mkdir -p "$own"
    say "writing $own/inbox.conf"
    [ "$dry" = 1 ] || printf '%s\n' "[Unit]" "RequiresMountsFor=$inbox" "[Service]" \
      "ReadWritePaths=$inbox" >"$own/inbox.conf"
  fi
}

systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p' | grep . || echo 0; }

configs() { compgen -G "$SETTINGS/*.toml" || true; }

unit_of() {
  local name
  name=$(basename "$1" .toml)
  if [ "$name" = station ]; then echo edge-agent.service; else echo "edge-agent@$name.service"; fi
}

# Before anything that runs is touched: does the new version read every station's settings, and
# score its golden images as their bundle says?
judge_golden() {
  local file
  for file in $(configs); do
    if [ "$dry" = 0 ] && ! has_bundle "$1" "$file"; then continue; fi
    say "judging the golden images of $file with the new version"
    run runuser -u "$OWNER" -- "$1/bin/edge-agent" bundle verify --config "$file" || fail \
      "the new version is not right for $file (see above): nothing was replaced, what ran still runs"
  done
}

# A station that was never given its bundle can't be judged, nor does it run.
has_bundle() {
  local place
  place=$("$1/bin/python" -c 'import sys; from pathlib import Path
from edge_agent.bundle import BundleError
from edge_agent.bundle.history import bundle_to_run
from edge_agent.settings import SettingsError, load_settings
try:
    settings = load_settings(Path(sys.argv[1]))
    print(bundle_to_run(settings.storage.bundles, settings.bundle))
except (BundleError, SettingsError) as error: sys.exit(f"edge-agent: {error}")' "$2") ||
    fail "the new version can't use $2 (see above): nothing was replaced, what ran still runs"
  [ -e "$place/manifest.json" ]
}

switch_to() {
  run ln -sfn "$1" "$ROOT/.next"
  run mv -T "$ROOT/.next" "$ROOT/current"
}

# Stations that are meant to run: also one that fails, and is tried again.
running() {
  local file
  for file in $(configs); do
    case $(systemctl is-active "$(unit_of "$file")" 2>/dev/null) in
      active | activating | reloading) unit_of "$file" ;;
    esac
  done
}

# systemctl returns when a station is ready, or has failed.
restart_stations() {
  local one which
  which=$(running)
  [ "$1" != "$2" ] || which=''  # what runs is this release
  [ -z "$bundle" ] || which=$(printf '%s\n' "$which" "$unit" | sort -u)
  for one in $which; do
    if [ "$1" = "$2" ] && systemctl is-active --quiet "$one"; then continue; fi
    say "starting $one"
    if ! run systemctl restart "$one"; then
      if [ -n "$2" ] && [ "$1" != "$2" ]; then go_back "$2"; fi
      fail "$one does not start: journalctl -u $one -n 30 says why"
    fi
  done
}

go_back() {
  say "going back to $1"
  switch_to "$1"
  runtime=$(sed -E 's/.*-(cpu|openvino|gpu)-.*/\1/' <<<"$1")
  install_units
  run systemctl daemon-reload
  local one
  for one in $(running); do
    run systemctl restart "$one" || true
  done
}

drop_old_releases() {
  local one
  for one in "$ROOT"/releases/*; do
    [ "$one" = "$1" ] || [ "$one" = "$2" ] || [ ! -d "$one" ] || run rm -rf "$one"
  done
}

next_steps() {
  if [ "$dry" = 0 ] && systemctl is-active -q "$unit"; then
    say "$unit runs: drop images into $inbox"
  else
    say "now copy a bundle to the place that $config names, then: systemctl start $unit"
  fi
  say "if something is wrong: $ROOT/current/bin/edge-agent doctor --config $config"
}

# -- uninstall ---------------------------------------------------------------------------------------

tear_down() {
  local file
  for file in $(configs); do
    run systemctl disable --quiet --now "$(unit_of "$file")" || true
  done
  run rm -rf "$UNITS"/edge-agent.service "$UNITS"/edge-agent@.service "$UNITS"/edge-agent.service.d \
    "$UNITS"/edge-agent@*.service.d "$ROOT"
  run systemctl daemon-reload
  if [ "$purge" = 1 ]; then
    run rm -rf "$SETTINGS" "$STATE"
    if getent passwd "$OWNER" >/dev/null; then run userdel "$OWNER"; fi
  else
    say "settings are kept in $SETTINGS, journal and images in $STATE; --purge removes them"
  fi
}

main "$@"
