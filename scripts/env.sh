# shellcheck shell=sh
# shellcheck disable=SC2154 # root is the caller's
# What every script needs of its surroundings, made good in this one place. Sourced
# with $root set to the repository, before any cd: a user's paths start where he is.

# Never empty: go would take the user's flags from its settings file then. Without
# -buildvcs=false a checkout that is another user's cannot be built; the commit comes
# by -ldflags anyway.
GOFLAGS='-mod=readonly -buildvcs=false'
GOWORK=off
export GOFLAGS GOWORK

# absolute FILE: its path from the top; fails where its directory is not there.
absolute() (
	[ -n "$1" ] && CDPATH='' cd -- "$(dirname -- "$1")" && dir=$(pwd -P) && printf '%s/%s\n' "${dir%/}" "$(basename -- "$1")"
) 2>/dev/null

# runs_programs DIR: whether a file made there may be run; noexec forbids it.
runs_programs() (
	[ -d "$1" ] && probe=$(mktemp "$1/ecgrid-probe.XXXXXX") || exit 1
	printf '#!/bin/sh\n' >"$probe" && chmod 700 "$probe" && "$probe"
	status=$?
	rm -f "$probe"
	exit "$status"
) 2>/dev/null

# runnable_tmp: the user's directory for temporary files, or one instead of it that
# programs run in. Go runs its tests from there, and we our tools.
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
	printf '%s: no directory for temporary files that programs may be run from: set TMPDIR to one\n' "${0##*/}" >&2
	return 1
}

TMPDIR=$(runnable_tmp) || exit 1
export TMPDIR

# A bare name is a command on PATH, and what is not there is for vault.sh to refuse.
if [ -n "${VAULT_BIN:-}" ]; then
	VAULT_BIN=$(absolute "$(command -v "$VAULT_BIN")" || printf '%s\n' "$VAULT_BIN")
	export VAULT_BIN
fi
