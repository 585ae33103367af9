#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs each fuzz target for FUZZTIME (10m by default), one after the other, and prints a
# table. A failing input is written below testdata/fuzz of its package: commit it with the
# fix. The status is 1 if there was a finding.
#
#   scripts/fuzz.sh          all targets
#   scripts/fuzz.sh REGEXP   those whose package:name match, such as soap:Fuzz
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root"

FUZZTIME=${FUZZTIME:-10m}
tmp=$(mktemp -d "$TMPDIR/ecgrid-fuzz.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# targets prints package:name of each target of the root module.
targets() {
	grep -rn --include='*_test.go' --exclude-dir=.git '^func Fuzz' . |
		sed -n 's|^\(.*\)/[^/]*_test\.go:[0-9]*:func \(Fuzz[A-Za-z0-9_]*\)(.*|\1:\2|p' | sort
}

# figure NAME: prints the last value of a figure in the output of go test.
figure() {
	sed -n "s/^fuzz: elapsed: .*$1: \([0-9][0-9]*\).*/\1/p" "$tmp/log" | tail -n 1
}

row='%-44s %12s %16s %9s\n'
printf 'FUZZTIME=%s\n' "$FUZZTIME"
# shellcheck disable=SC2059 # a table
printf "$row" target execs 'new interesting' findings
targets | grep -e "${1:-.}" >"$tmp/targets" || {
	echo "fuzz.sh: no target matches" >&2
	exit 2
}
findings=0
while IFS=: read -r package name; do
	found=0
	# -timeout does not count the time of fuzzing
	if ! go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" "$package" >"$tmp/log" 2>&1 </dev/null; then
		found=1
		findings=$((findings + 1))
	fi
	execs=$(figure execs)
	interesting=$(figure 'new interesting')
	# shellcheck disable=SC2059
	printf "$row" "$package $name" "${execs:-0}" "${interesting:-0}" "$found"
	[ "$found" = 0 ] || cat "$tmp/log"
done <"$tmp/targets"
[ "$findings" = 0 ]
