#!/bin/sh
# Stands before vault while make test-docs runs the commands of README.md and docs/.
# The pages write a login without saying where ECGrid is, since a reader wants the live
# one. Here it has to be the simulator: its url and CA are added to such a write, and
# nothing else is changed.
#
#   TEST_DOCS_VAULT  the vault
#   TEST_DOCS_URL    the simulator's SOAP endpoint
#   TEST_DOCS_CA     file with its CA
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
