#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Looks for known vulnerabilities in the code that the plugin and the simulator call, with
# govulncheck (pinned in tools/go.mod). If the database cannot be reached, it says so and
# passes.
#
#   scripts/vuln.sh            look
#   scripts/vuln.sh -required  fail if the database cannot be reached
#
# GOVULNDB is another database, such as a mirror (https://…, file:///…).
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root" || exit 1

case $#:${1:-} in
0:) required= ;;
1:-required) required=yes ;;
*)
	echo "usage: scripts/vuln.sh [-required]" >&2
	exit 2
	;;
esac

said=$(go tool -modfile=tools/go.mod govulncheck -db "${GOVULNDB:-https://vuln.go.dev}" ./cmd/... 2>&1)
status=$?
case $status:$said in
*'fetching vulnerabilities:'*)
	printf '%s\n' "$said" | grep 'fetching vulnerabilities:'
	echo "govulncheck: not run: its database cannot be reached (GOVULNDB is a mirror)"
	[ -z "$required" ]
	exit
	;;
esac
printf '%s\n' "$said"
exit "$status" # 3: there are vulnerabilities
