#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Signs the sums of a release: scripts/sign.sh KEY. It writes dist/SHA256SUMS.sig, a detached
# OpenPGP signature in binary form, and prints the fingerprint of the key. Before that it
# compares dist/ with the sums: nothing may be changed, missing or added.
#
#   scripts/sign.sh -check KEY  only check that KEY is one key
#
# KEY is a fingerprint, key ID or address of a secret key that gpg has: in its keyring, on a
# smart card, or imported from a secret of the CI system. gpg or its agent asks for the
# passphrase. GNUPGHOME is another keyring than the user's.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
LC_ALL=C
export LC_ALL

die() {
	printf 'sign.sh: %s\n' "$*" >&2
	exit 1
}

# check_key: sets fingerprint to that of the only key that fits.
check_key() {
	command -v gpg >/dev/null 2>&1 || die "put gpg (GnuPG 2) on PATH"
	keys=$(gpg --batch --with-colons --list-secret-keys -- "$key") || die "gpg has no secret key $key (see above)"
	fingerprint=$(printf '%s\n' "$keys" | awk -F: '$1 == "sec" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }')
	case $fingerprint in
	'') die "gpg has no secret key $key" ;;
	*[!0-9A-F]*)
		printf '%s\n' "$fingerprint" >&2
		die "several keys fit $key (above): give the fingerprint of one of them"
		;;
	esac
}

# Only the index of an OCI layout is in SHA256SUMS. It names its blobs by their SHA-256.
blob='oci[a-z-]*/blobs/sha256/[0-9a-f]{64}'

check_files() {
	[ -s dist/SHA256SUMS ] || die "dist/SHA256SUMS is empty: run make release again"
	if grep -Evq '^[0-9a-f]{64}  [^ ].*$' dist/SHA256SUMS; then die "dist/SHA256SUMS is malformed: run make release again"; fi
	listed=$(sed 's/^[0-9a-f]*  //' dist/SHA256SUMS | sort)
	found=$(cd dist && find . ! -type d | sed 's|^\./||' | sort)
	differs=$(printf '%s\n' "$listed" "$(printf '%s\n' "$found" | grep -Evx "SHA256SUMS|oci[a-z-]*/oci-layout|$blob")" | sort | uniq -u)
	if [ -n "$differs" ]; then
		printf '%s\n' "$differs" >&2
		die "not both in dist/ and in SHA256SUMS (above): run make release again"
	fi
	while IFS= read -r line; do
		check_file "${line%%  *}" "${line#*  }"
	done <dist/SHA256SUMS
	for file in $(printf '%s\n' "$found" | grep -Ex "$blob"); do
		check_file "${file##*/}" "$file"
	done
}

# check_file SUM NAME
check_file() {
	[ "$(scripts/sha256.sh "dist/$2")" = "$1" ] || die "dist/$2 has another SHA-256 than SHA256SUMS: run make release again"
}

check_only=
if [ "${1:-}" = -check ]; then
	check_only=yes
	shift
fi
[ "$#" -eq 1 ] || die "usage: scripts/sign.sh [-check] KEY"
key=$1
case $key in '' | -*) die "KEY is a fingerprint, key ID or address, not an option" ;; esac
check_key
[ -z "$check_only" ] || exit 0

[ -f dist/SHA256SUMS ] || die "there is no dist/SHA256SUMS: run make release first"
rm -f dist/SHA256SUMS.sig
check_files
trap '[ "$?" -eq 0 ] || rm -f dist/SHA256SUMS.sig' EXIT
gpg --batch --quiet --local-user "$key" --output dist/SHA256SUMS.sig --detach-sign dist/SHA256SUMS ||
	die "gpg did not sign with the key $key (see above)"
chmod 644 dist/SHA256SUMS.sig
status=$(gpg --batch --quiet --status-fd 1 --verify dist/SHA256SUMS.sig dist/SHA256SUMS)
signed=$(printf '%s\n' "$status" | awk '$2 == "VALIDSIG" { print $NF }') # of the primary key
[ "$signed" = "$fingerprint" ] || die "the signature is not by the key $fingerprint (see above)"
printf 'sign.sh: dist/SHA256SUMS.sig is by the key %s\n' "$fingerprint"
