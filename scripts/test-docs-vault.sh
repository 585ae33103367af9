#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Replaces vault when make test-docs runs the commands of README.md and docs/. The pages
# write a login without a url, since readers use the live ECGrid. This script adds the
# simulator's url and CA to such a write, and changes nothing else.
#
#   TEST_DOCS_VAULT  the vault
#   TEST_DOCS_URL    the simulator's SOAP endpoint
#   TEST_DOCS_CA     the file of its CA
set -eu
write=
config=
login=
for arg; do
	case $arg in
	write | patch) write=yes ;;
	ecgrid/config) config=yes ;;
	username=* | password=* | api_key=* | -) login=yes ;;
	url=*) exec "$TEST_DOCS_VAULT" "$@" ;;
	esac
done
if [ -n "$write" ] && [ -n "$config" ] && [ -n "$login" ]; then
	exec "$TEST_DOCS_VAULT" "$@" url="$TEST_DOCS_URL" ca_cert=@"$TEST_DOCS_CA"
fi
exec "$TEST_DOCS_VAULT" "$@"
