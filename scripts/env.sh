# SPDX-License-Identifier: MPL-2.0

# shellcheck shell=sh
# shellcheck disable=SC2154 # root is the caller's
# Sets the environment for all scripts. Source it with $root set to the repository, and
# before any cd: relative paths start in the user's directory.

# If GOFLAGS were empty, go would read the user's flags from its settings file. Without
# -buildvcs=false, go cannot build a checkout of another user; -ldflags sets the commit.
GOFLAGS='-mod=readonly -buildvcs=false'
GOWORK=off
export GOFLAGS GOWORK

# absolute FILE: prints the absolute path; fails if the directory does not exist.
absolute() (
	[ -n "$1" ] && CDPATH='' cd -- "$(dirname -- "$1")" && dir=$(pwd -P) && printf '%s/%s\n' "${dir%/}" "$(basename -- "$1")"
) 2>/dev/null

# runs_programs DIR: fails if programs cannot run from DIR, because of noexec for example.
runs_programs() (
	[ -d "$1" ] && probe=$(mktemp "$1/ecgrid-probe.XXXXXX") || exit 1
	printf '#!/bin/sh\n' >"$probe" && chmod 700 "$probe" && "$probe"
	status=$?
	rm -f "$probe"
	exit "$status"
) 2>/dev/null

# runnable_tmp: prints the user's temporary directory, or another one if programs cannot run
# there. Go runs tests from it, and the scripts run tools.
runnable_tmp() {
	if runs_programs "${TMPDIR:-/tmp}"; then
		absolute "${TMPDIR:-/tmp}"
		return
	fi
	for cache in "${XDG_CACHE_HOME:-}" "${HOME:+$HOME/.cache}" "$root/bin"; do
		[ -n "$cache" ] || continue
		dir=$cache/vault-plugin-ecgrid/tmp
		(umask 077 && mkdir -p "$dir") 2>/dev/null && runs_programs "$dir" && absolute "$dir" && return
	done
	printf '%s: programs cannot run from the temporary directory: set TMPDIR to a directory without noexec\n' "${0##*/}" >&2
	return 1
}

TMPDIR=$(runnable_tmp) || exit 1
export TMPDIR

# A name without a slash is a command on PATH. vault.sh refuses one that does not exist.
if [ -n "${VAULT_BIN:-}" ]; then
	VAULT_BIN=$(absolute "$(command -v "$VAULT_BIN")" || printf '%s\n' "$VAULT_BIN")
	export VAULT_BIN
fi
