#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Prints the path of a vault that can run the plugin. Messages go to stderr. VAULT_BIN may
# also be OpenBao's bao.
#
#   scripts/vault.sh             $VAULT_BIN, else a vault on PATH, else the cached build, else builds one
#   scripts/vault.sh --no-build  the same, but fails (status 3) instead of building
#
# It builds the release that tools/vault/go.mod pins, once, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/vault-plugin-ecgrid. That takes minutes.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"

# 1.16 is the oldest release line with version pins (sys/plugins/pins), which a safe
# plugin upgrade needs, and the oldest long-term support line.
min_major=1
min_minor=16

me=vault.sh
packages=1900
# shellcheck source=scripts/build_once.sh
. "$root/scripts/build_once.sh"

# OpenBao counts its versions by itself. 2.5 is the oldest that was tried.
openbao_major=2
openbao_minor=5

# version_of FILE: prints 1.21.0 for "Vault v1.21.0 (…), built …", and nothing for other
# programs.
version_of() {
	"$1" version </dev/null 2>/dev/null | sed -n '1s/^Vault v\([0-9][0-9A-Za-z.+-]*\).*/\1/p'
}

# openbao_version_of FILE: the same for "OpenBao v2.5.5 (…), built …".
openbao_version_of() {
	"$1" version </dev/null 2>/dev/null | sed -n '1s/^OpenBao v\([0-9][0-9A-Za-z.+-]*\).*/\1/p'
}

# older VERSION MAJOR MINOR: succeeds if VERSION is older.
older() {
	major=${1%%.*}
	minor=${1#*.}
	minor=${minor%%.*}
	[ "$major" -lt "$2" ] || { [ "$major" -eq "$2" ] && [ "$minor" -lt "$3" ]; }
}

# unfit FILE: prints why FILE cannot be used, or nothing.
unfit() {
	bao=$(openbao_version_of "$1")
	if [ -n "$bao" ]; then
		! older "$bao" "$openbao_major" "$openbao_minor" || echo "is OpenBao $bao, older than $openbao_major.$openbao_minor"
		return
	fi
	v=$(version_of "$1")
	case $v in
	'') echo "does not print a version as Vault does" ;;
	*+ent*) echo "is Enterprise $v, which does not start without a license" ;;
	*)
		! older "$v" "$min_major" "$min_minor" || echo "is $v, older than $min_major.$min_minor"
		;;
	esac
}

pinned_version() {
	sed -n 's|^[[:space:]]*\(require[[:space:]]\)\{0,1\}github.com/hashicorp/vault v\([0-9][^[:space:]]*\).*|\2|p' \
		"$root/tools/vault/go.mod"
}

compile() {
	cd "$root/tools/vault"
	CGO_ENABLED=0 exec go build -v -tags minimal -trimpath -ldflags '-s -w' \
		-o "$tmp" github.com/hashicorp/vault
}

mode=${1:-}
case $mode in '' | --no-build) ;; *) die "unknown option $mode" ;; esac

if [ -n "${VAULT_BIN:-}" ]; then
	why=$(unfit "$VAULT_BIN")
	[ -z "$why" ] || die "VAULT_BIN: $VAULT_BIN $why"
	found "$VAULT_BIN"
fi

if on_path=$(command -v vault 2>/dev/null) && [ -x "$on_path" ]; then
	why=$(unfit "$on_path")
	[ -n "$why" ] || found "$(absolute "$on_path")" # PATH may have relative directories
	say "not using $on_path, which $why"
fi

version=$(pinned_version)
[ -n "$version" ] || die "tools/vault/go.mod has no version of github.com/hashicorp/vault"
what="vault $version"
advice="Put a vault $min_major.$min_minor or newer on PATH, or set VAULT_BIN."
cache=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/vault-plugin-ecgrid/vault-$version
bin=$cache/vault
cached_or_built "$mode"
