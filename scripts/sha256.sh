#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Prints the SHA-256 of a file, which Vault needs to register a plugin. It uses the command
# that this machine has. Each prints the sum first.
set -eu
[ "$#" -eq 1 ] || {
	echo "usage: scripts/sha256.sh FILE" >&2
	exit 2
}
if command -v sha256sum >/dev/null 2>&1; then
	sum=$(sha256sum <"$1")
elif command -v shasum >/dev/null 2>&1; then
	sum=$(shasum -a 256 <"$1")
else
	sum=$(openssl dgst -sha256 -r <"$1")
fi
printf '%s\n' "${sum%% *}"
