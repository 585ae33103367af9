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

not_run() {
	echo "govulncheck: not run: its database cannot be reached${1:-} (set GOVULNDB to a mirror)"
	[ -z "$required" ]
	exit
}

# answers: fails if curl is installed and cannot connect within 10 s. govulncheck would take a
# minute or more to say so.
answers() {
	command -v curl >/dev/null 2>&1 || return 0
	curl -s -o /dev/null --max-time 10 "$database/index/db.json"
	case $? in 5 | 6 | 7 | 28) return 1 ;; esac # proxy, name, connection, time
}

# has_entries DIR: fails if no vulnerability is there. govulncheck takes an empty directory for a
# database in which nothing is known.
has_entries() {
	if [ -f "$1/index/modules.json" ]; then
		grep -q '"path"' "$1/index/modules.json"
	else
		grep -qs '"affected"' "$1"/*.json
	fi
}

database=${GOVULNDB:-https://vuln.go.dev}
case $database in
http://* | https://*) answers || not_run ;;
file://*)
	directory=${database#file://}
	[ ! -d "$directory" ] || has_entries "$directory" || not_run ": it has no entries"
	;;
esac

said=$(go tool -modfile=tools/go.mod govulncheck -db "$database" ./cmd/... 2>&1)
status=$?
case $status:$database:$said in
*'fetching vulnerabilities:'*)
	printf '%s\n' "$said" | grep 'fetching vulnerabilities:'
	not_run
	;;
1:http*'creating client: unrecognized vulndb format'*) # also if a mirror does not answer
	not_run ", or is none"
	;;
esac
printf '%s\n' "$said"
exit "$status" # 3: there are vulnerabilities
