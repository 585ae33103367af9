#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs each fuzz target for FUZZTIME (10m by default), one on each CPU at a time, and prints a
# table. A failing input is written below testdata/fuzz of its package: commit it with the
# fix. The status is not 0 if there was a finding.
#
#   scripts/fuzz.sh          all targets
#   scripts/fuzz.sh REGEXP   those whose package:name match, such as soap:Fuzz
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root"

export FUZZTIME="${FUZZTIME:-10m}"

# targets prints package:name of each target of the root module.
targets() {
	grep -rn --include='*_test.go' --exclude-dir=.git '^func Fuzz' . |
		sed -n 's|^\(.*\)/[^/]*_test\.go:[0-9]*:func \(Fuzz[A-Za-z0-9_]*\)(.*|\1:\2|p' | sort
}

row() { printf '%-44s %12s %16s %9s\n' "$@"; }

# figure LOG NAME: prints the last value of a figure in the output of go test.
figure() {
	sed -n "s/^fuzz: elapsed: .*$2: \([0-9][0-9]*\).*/\1/p" "$1" | tail -n 1
}

# fuzz TARGET: runs one target in one process, and prints its row.
fuzz() {
	package=${1%:*} name=${1#*:} found=0
	log=$(mktemp "$TMPDIR/ecgrid-fuzz.XXXXXX")
	# -timeout does not count the time of fuzzing
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" -parallel 1 "$package" >"$log" 2>&1 </dev/null || found=1
	execs=$(figure "$log" execs)
	interesting=$(figure "$log" 'new interesting')
	row "$package $name" "${execs:-0}" "${interesting:-0}" "$found"
	[ "$found" = 0 ] || cat "$log"
	rm -f "$log"
	return "$found"
}

if [ "${1-}" = -one ]; then
	fuzz "$2"
	exit
fi
chosen=$(targets | grep -e "${1:-.}") || {
	echo "fuzz.sh: no target matches" >&2
	exit 2
}
printf 'FUZZTIME=%s\n' "$FUZZTIME"
row target execs 'new interesting' findings
printf '%s\n' "$chosen" | xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" "$root/scripts/fuzz.sh" -one
