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

  --runtime cpu|openvino|gpu  which ONNX Runtime (default: the installed one; at the first installation
                              the one that fits the hardware)
  --bundle DIR|demo           the bundle of a new station, which is then started
  --station NAME              one of several stations on this machine: edge-agent@NAME
  --inbox DIR                 where the camera of a new station writes images (default: in /var/lib/edge-agent)
  --wheels DIR                install from this folder, without a network (make wheels fills one)
  --python PROGRAM            which Python, 3.10 or later (default: python3)
  --dry-run                   show what would be done, without doing it

An upgrade is installed beside the running version, which is replaced only after the new one has
judged the golden images of every station. If a station does not start with the new version, the old
one is restored. If interrupted, run the installer again.
END
}

fail() { echo "install.sh: $*" >&2; exit 2; }
say() { echo "install.sh: $*"; }
run() { if [ "$dry" = 1 ]; then printf '+'; printf ' %q' "$@"; echo; else "$@"; fi; }

main() {
  local command=install
  runtime='' bundle='' station='' inbox='' wheels='' python=python3 dry=0 purge=0 copy='' half=''
  trap 'rm -rf "$copy" "$half"' EXIT  # a disk that they filled is the station's too
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
  # Also --dry-run where something is installed: only root sees what.
  if { [ "$dry" = 0 ] || [ -e "$SETTINGS" ]; } && [ "$(id -u)" != 0 ]; then
    fail "must be run as root: sudo $0"
  fi
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
  install_units "$release"
  if [ "$before" != "$release" ]; then switch_to "$release"; fi
  run systemctl daemon-reload
  run systemctl enable --quiet "$unit"
  restart_stations "$release" "$before"
  if [ "$before" != "$release" ]; then drop_old_releases "$release" "$before"; fi
  next_steps "$release"
}

check_options() {
  case ${runtime:=$(installed_runtime || suggest_runtime)} in
    cpu | openvino | gpu) ;;
    *) fail "--runtime $runtime is none of cpu, openvino, gpu" ;;
  esac
  [[ $station =~ ^[A-Za-z0-9_-]*$ ]] || fail "--station $station: letters, digits, - and _ only"
  case $station in  # what the station without a name has in the same folders
    station | inbox | state | bundle | bundles) fail "--station $station: choose another name" ;;
  esac
  unit=edge-agent.service config=$SETTINGS/station.toml home=$STATE secret=$SETTINGS/mqtt
  if [ -n "$station" ]; then
    unit=edge-agent@$station.service config=$SETTINGS/$station.toml home=$STATE/$station
    secret=$SETTINGS/$station.mqtt
  fi
  if [ -n "$inbox" ]; then check_inbox; fi
  [ "$bundle" != demo ] || bundle=$REPO/edge_agent/demo/bundle
  [ -z "$bundle" ] || [ -f "$bundle/manifest.json" ] ||
    fail "--bundle $bundle is no bundle: give the folder that trainer wrote, RUN/bundle"
  [ -z "$wheels" ] || compgen -G "$wheels/edge_inspect-*.whl" >/dev/null ||
    fail "--wheels $wheels has no edge_inspect-*.whl: fill it with make wheels RUNTIME=$runtime"
  [ -z "$wheels" ] || wheels=$(realpath "$wheels")
  command -v "$python" >/dev/null || fail "$python is not installed: apt-get install python3"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old: 3.10 or later, by --python"
  "$python" -c 'import ensurepip' 2>/dev/null ||
    fail "$python has no module venv: apt-get install python3-venv"
}

check_inbox() {
  [[ $inbox == /* ]] || fail "--inbox $inbox: give the whole path, from /"
  # It becomes part of settings and of a unit, where these would mean something else.
  [[ $inbox != *[\"\\%\$\&\|]* && $inbox != *$'\n'* ]] ||
    fail "--inbox $inbox: a path without \" \\ % \$ & | and line ends"
  case $inbox/ in  # ProtectHome=, PrivateTmp=
    /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
      fail "--inbox $inbox: the service sees nothing there; choose another folder, below /srv say" ;;
  esac
  if [ -e "$config" ]; then say "--inbox is for a new station; this one's is named in $config"; fi
}

runtime_of() { sed -E 's/.*-(cpu|openvino|gpu)-[0-9a-f]*$/\1/' <<<"$1"; }

installed_runtime() { [ -L "$ROOT/current" ] && runtime_of "$(readlink "$ROOT/current")"; }

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
  # As the unit's drop-in has it: who verifies a bundle or asks the doctor as this user sees the same.
  if [ "$runtime" = openvino ]; then
    run groupadd --system --force render
    run usermod --append --groups render "$OWNER"
  fi
}

# Version, runtime and a hash of what is installed: the same again is the same release. Not so with
# another Python: after an upgrade of the system, what was installed for the one before can't run.
release_name() {
  local version print
  version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$REPO/edge_agent/__init__.py")
  print=$(
    "$python" -c 'import sys; print(sys.base_prefix, *sys.version_info[:2])'
    cd "$REPO"
    find deploy/systemd -type f -print0 | sort -z | xargs -0 sha256sum
    if [ -n "$wheels" ]; then
      cd "$wheels" && sha256sum ./*.whl
    else
      find edge_agent trainer pyproject.toml deploy/constraints.txt -type f \
        ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum
    fi
  )
  print=$(sha256sum <<<"$print")
  echo "$version-$runtime-${print:0:12}"
}

make_release() {
  if [ -e "$1/.complete" ]; then say "$1 is there already"; return; fi
  say "installing $1"
  run rm -rf "$1"
  [ "$dry" = 1 ] || half=$1
  run mkdir -p "$ROOT/releases"
  run "$python" -m venv "$1" || not_installed
  local pip=("$1/bin/pip" install --quiet --disable-pip-version-check)
  if [ -n "$wheels" ]; then
    run "${pip[@]}" --no-index --find-links "$wheels" "edge-inspect[$runtime]" || not_installed
  else  # from a copy: building leaves files behind
    copy=$(mktemp -d)
    cp -r "$REPO"/{edge_agent,trainer,pyproject.toml,README.md,LICENSE} "$copy"
    run "${pip[@]}" --constraint "$REPO/deploy/constraints.txt" "${copy}[$runtime]" || not_installed
  fi
  # Its units too: whoever goes back to it runs it as it was run.
  run cp -rT "$REPO/deploy/systemd" "$1/systemd"
  run touch "$1/.complete"
  half=''
}

not_installed() {
  fail "it could not be installed (see above; without a network: --wheels, docs/install.md):" \
    "nothing was replaced. Run this again when it is fixed"
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
  make_inbox
  local place=$home/bundle
  if [ -n "$bundle" ]; then
    place=$home/bundles/$(bundle_name)
    run install -d -m 0755 "$home/bundles"
    run cp -rT "$bundle" "$place"
    run chmod -R u=rwX,go=rX "$place"
  fi
  say "writing $config"
  [ "$dry" = 0 ] || return 0
  # Whole or not at all: what is there is left alone from then on. Two stations of one name would
  # throw each other out at the broker.
  sed -e "s|^bundle = .*|bundle = \"$place\"|" -e "s|^path = .*|path = \"$inbox\"|" \
    -e "s|^root = .*|root = \"$home/state\"|" -e "${station:+s|^# name = .*|name = \"$station\"|}" \
    "$REPO/deploy/examples/station.toml" | install -m 0640 -g "$OWNER" /dev/stdin "$config.new"
  mv -T "$config.new" "$config"
}

# Group-writable, and what is dropped belongs to the group: a camera's user only has to join it. A
# folder that is somebody's already, the camera's say, is left as it is.
make_inbox() {
  : "${inbox:=$home/inbox}"
  if [[ $inbox == "$STATE"/* || ! -e $inbox ]]; then
    run install -d -m 2770 -o "$OWNER" -g "$OWNER" "$inbox"
  fi
  [ "$dry" = 1 ] || runuser -u "$OWNER" -- test -r "$inbox" -a -w "$inbox" -a -x "$inbox" || fail \
    "--inbox $inbox: the service can't move images out of it, for it runs as $OWNER:" \
    "chgrp $OWNER '$inbox'; chmod g+rwxs '$inbox' (each folder above it: chmod o+x); then run this again"
}

bundle_name() {
  "$python" -c 'import json, sys; m = json.load(open(sys.argv[1])); print(m["name"], m["version"])' \
    "$bundle/manifest.json" | tr -c 'A-Za-z0-9._\n-' -
}

install_units() {
  local name
  run install -m 0644 "$1/systemd/edge-agent.service" "$1/systemd/edge-agent@.service" "$UNITS"
  # For the whole machine: both kinds of unit read the drop-ins of their own name.
  for name in edge-agent.service edge-agent@.service; do
    run mkdir -p "$UNITS/$name.d"
    run rm -f "$UNITS/$name.d/openvino.conf" "$UNITS/$name.d/gpu.conf"
    [ "$runtime" = cpu ] ||
      run install -m 0644 "$1/systemd/dropins/$runtime.conf" "$UNITS/$name.d"
    if [ "$(systemd_version)" -ge 254 ]; then
      run install -m 0644 "$1/systemd/dropins/backoff.conf" "$UNITS/$name.d"
    fi
  done
  for name in $(configs); do allow_inbox "$1" "$name"; done
}

# An inbox outside of what the unit may write to. If it lies on a disk of its own, the station waits
# for that: what has no RequiresMountsFor= is tried again when a mount comes late.
allow_inbox() {
  local inbox disk mount own
  own=$UNITS/$(unit_of "$2").d
  inbox=$(setting "$1" "$2" 'settings.source.folder.path if settings.source.folder else ""')
  if [[ -z $inbox || $inbox == "$STATE"/* || -e $own/inbox.conf ]]; then return; fi
  say "writing $own/inbox.conf"
  run mkdir -p "$own"
  [ "$dry" = 0 ] || return 0
  disk=$(findmnt -n -o TARGET --target "$inbox" || echo /)
  {
    if [ "$disk" != / ]; then
      mount=$(systemd-escape --path --suffix=mount "$disk")
      printf '[Unit]\nWants=%s\nAfter=%s\n' "$mount" "$mount"
      # Asked outside of the unit's own view, in which ReadWritePaths= makes every such folder a mount.
      printf '[Service]\nExecStartPre=+/usr/bin/nsenter --target 1 --mount mountpoint "%s"\n' "$disk"
    fi
    printf '[Service]\nReadWritePaths="-%s"\n' "$inbox"
  } >"$own/inbox.conf.new"
  mv -T "$own/inbox.conf.new" "$own/inbox.conf"
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
  local file place
  for file in $(configs); do
    if [ "$dry" = 0 ]; then
      place=$(setting "$1" "$file" 'bundle_to_run(settings.storage.bundles, settings.bundle)') ||
        fail "the new version can't use $file (see above): nothing was replaced, what ran still runs"
      # A station that was never given its bundle can't be judged, nor does it run.
      [ -e "$place/manifest.json" ] || continue
    fi
    say "judging the golden images of $file with the new version"
    run runuser -u "$OWNER" -- "$1/bin/edge-agent" bundle verify --config "$file" || fail \
      "the new version is not right for $file (see above): nothing was replaced, what ran still runs"
  done
}

# What a release reads in a station's settings.
setting() {
  [ -e "$1/.complete" ] || return 0  # --dry-run
  "$1/bin/python" -c "import sys; from pathlib import Path
from edge_agent.bundle import BundleError
from edge_agent.bundle.history import bundle_to_run
from edge_agent.settings import SettingsError, load_settings
try:
    settings = load_settings(Path(sys.argv[1]))
    print($3)
except (BundleError, SettingsError) as error: sys.exit(f'edge-agent: {error}')" "$2"
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

# The release that a unit's process is of; without a process: $2.
release_of() {
  local pid program
  pid=$(systemctl show --property MainPID --value "$1")
  program=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | head -n 1)
  case $program in "$ROOT"/*) echo "${program%/bin/*}" ;; *) echo "$2" ;; esac
}

# systemctl returns when a station is ready, or has failed. What runs is of another release also
# where an earlier call was broken off after it had switched.
restart_stations() {
  local one which=''
  for one in $(running); do
    [ "$(release_of "$one" "$2")" = "$1" ] || which+="$one "
  done
  if [ -n "$bundle" ] && ! systemctl is-active --quiet "$unit"; then which+="$unit "; fi
  for one in $(tr ' ' '\n' <<<"$which" | sort -u); do
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
  runtime=$(runtime_of "$1")
  install_units "$1"
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
  local inbox
  inbox=$(setting "$1" "$config" 'settings.source.folder.path if settings.source.folder else ""')
  if [ "$dry" = 0 ] && systemctl is-active -q "$unit"; then
    say "$unit runs${inbox:+: drop images into $inbox}"
  else
    say "now copy a bundle to the place that $config names, then: systemctl start $unit"
  fi
  say "if something is wrong: sudo -u $OWNER $ROOT/current/bin/edge-agent doctor --config $config"
}

# -- uninstall ---------------------------------------------------------------------------------------

tear_down() {
  local ours=("$UNITS"/edge-agent.service.d "$UNITS"/edge-agent@*.service.d) one
  # Also a station whose settings somebody has removed.
  run systemctl stop edge-agent.service 'edge-agent@*.service' || true
  run rm -f "$UNITS"/*.wants/edge-agent.service "$UNITS"/*.wants/edge-agent@*.service
  run rm -rf "$UNITS"/edge-agent.service "$UNITS"/edge-agent@.service "$ROOT"
  for one in openvino gpu backoff inbox; do run rm -f "${ours[@]/%//$one.conf}"; done
  if [ "$purge" = 1 ]; then
    run rm -rf "$SETTINGS" "$STATE" "${ours[@]}"
    if getent passwd "$OWNER" >/dev/null; then run userdel "$OWNER"; fi
  else  # drop-ins of the site's own are settings too
    run find "${ours[@]}" -maxdepth 0 -empty -delete 2>/dev/null || true
    say "settings are kept in $SETTINGS, journal and images in $STATE; --purge removes them"
  fi
  run systemctl daemon-reload
}

main "$@"
