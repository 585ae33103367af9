#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Prints the path of promtool or of prometheus. Messages go to stderr.
#
#   scripts/prometheus.sh promtool            $PROMTOOL_BIN, else promtool on PATH, else the cached build; else status 3
#   scripts/prometheus.sh prometheus          the same with $PROMETHEUS_BIN
#   scripts/prometheus.sh promtool --build    the same, but builds it if there is none
#
# It builds the release that tools/monitoring/go.mod pins, once, without service discovery,
# into ${XDG_CACHE_HOME:-$HOME/.cache}/vault-plugin-ecgrid. That takes minutes.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"

me=prometheus.sh
packages=1100
# shellcheck source=scripts/build_once.sh
. "$root/scripts/build_once.sh"

runs() { "$1" --version </dev/null >/dev/null 2>&1; }

name=${1:-}
case $name in
promtool) given=${PROMTOOL_BIN:-} ;;
prometheus) given=${PROMETHEUS_BIN:-} ;;
*) die "name promtool or prometheus" ;;
esac
case ${2:-} in '' | --build) ;; *) die "unknown option $2" ;; esac

if [ -n "$given" ]; then
	runs "$given" || die "$given does not run as $name"
	found "$given"
fi
if on_path=$(command -v "$name" 2>/dev/null) && runs "$on_path"; then
	found "$(absolute "$on_path")"
fi

version=$(sed -n 's|^[[:space:]]*github.com/prometheus/prometheus \(v[^[:space:]]*\).*|\1|p' "$root/tools/monitoring/go.mod")
[ -n "$version" ] || die "tools/monitoring/go.mod has no version of github.com/prometheus/prometheus"
# A build from the module does not know its version.
version_of() { ! runs "$1" || printf '%s\n' "$version"; }

compile() {
	cd "$root/tools/monitoring"
	CGO_ENABLED=0 exec go build -v -tags remove_all_sd -trimpath -ldflags '-s -w' -o "$tmp" "github.com/prometheus/prometheus/cmd/$name"
}

what="$name $version"
advice="Put one on PATH, or set $(echo "$name" | tr '[:lower:]' '[:upper:]')_BIN."
build_command="scripts/$me $name --build"
cache=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/vault-plugin-ecgrid/prometheus-$version
bin=$cache/$name
mode=--no-build
[ "${2:-}" != --build ] || mode=
cached_or_built "$mode"
