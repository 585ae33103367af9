#!/bin/sh
# Prints the path of a vault that can run the plugin. Messages go to stderr.
#
#   scripts/vault.sh             $VAULT_BIN, else a vault on PATH, else the cached build, else builds one
#   scripts/vault.sh --no-build  the same, but fails (status 3) instead of building
#
# It builds the release that tools/vault/go.mod pins, once, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/vault-plugin-ecgrid. That takes minutes.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"

# 1.16 is the oldest release line with version pins (sys/plugins/pins), which a safe
# plugin upgrade needs, and the oldest long-term support line.
min_major=1
min_minor=16

tick=10         # seconds between two progress messages
lock_timeout=90 # seconds without progress after which another builder counts as dead

say() { printf 'vault.sh: %s\n' "$*" >&2; }
die() {
	say "$*"
	exit 1
}

# version_of FILE: prints 1.21.0 for "Vault v1.21.0 (…), built …", and nothing for other
# programs.
version_of() {
	"$1" version </dev/null 2>/dev/null | sed -n '1s/^Vault v\([0-9][0-9A-Za-z.+-]*\).*/\1/p'
}

# unfit FILE: prints why FILE cannot be used, or nothing.
unfit() {
	v=$(version_of "$1")
	major=${v%%.*}
	minor=${v#*.}
	minor=${minor%%.*}
	case $v in
	'') echo "does not print a version as Vault does" ;;
	*+ent*) echo "is Enterprise $v, which does not start without a license" ;;
	*)
		if [ "$major" -lt "$min_major" ] || { [ "$major" -eq "$min_major" ] && [ "$minor" -lt "$min_minor" ]; }; then
			echo "is $v, older than $min_major.$min_minor"
		fi
		;;
	esac
}

found() {
	printf '%s\n' "$1"
	exit 0
}

pinned_version() {
	sed -n 's|^[[:space:]]*\(require[[:space:]]\)\{0,1\}github.com/hashicorp/vault v\([0-9][^[:space:]]*\).*|\2|p' \
		"$root/tools/vault/go.mod"
}

go_minimum() { sed -n 's/^go //p' "$root/go.mod"; }

lines() { grep -c "$1" "$2" 2>/dev/null || true; }

# The log of the build has one line for each module, then one for each package.
progress() {
	printf '%s s, %s modules fetched, %s of about 1900 packages compiled' \
		"$1" "$(lines '^go: downloading' "$log")" "$(lines '^[^: ]*$' "$log")"
}

# A running builder changes lock/progress. So the lock of a killed one times out, whatever
# its PID is used for now. Two builders at once do no harm: each renames a complete file
# into place.
take_lock() {
	waited=0
	still=0
	last=
	until mkdir "$lock" 2>/dev/null; do
		[ -w "$cache" ] || die "cannot write to $cache"
		sleep 1
		good_build && found "$bin"
		now=$(cat "$lock/progress" 2>/dev/null || true)
		if [ "$now" = "$last" ]; then still=$((still + 1)); else still=0; fi
		last=$now
		if [ "$still" -ge "$lock_timeout" ]; then
			say "the other build makes no progress: taking over"
			rm -rf "$lock"
			still=0
		fi
		waited=$((waited + 1))
		[ $((waited % tick)) -ne 0 ] || say "waiting for another build: ${now:-starting}"
	done
	locked=yes
}

good_build() {
	[ -x "$bin" ] && [ "$(version_of "$bin")" = "$version" ]
}

locked=
builder=
tmp=
log=
# shellcheck disable=SC2317 # called by the trap
clean_up() {
	[ -z "$builder" ] || kill "$builder" 2>/dev/null || true
	[ -z "$tmp" ] || rm -f "$tmp"
	[ -z "$log" ] || rm -f "$log"
	[ -z "$locked" ] || rm -rf "$lock"
}

compile() {
	cd "$root/tools/vault"
	CGO_ENABLED=0 exec go build -v -tags minimal -trimpath -ldflags '-s -w' \
		-o "$tmp" github.com/hashicorp/vault
}

build() {
	rm -f "$bin".new.* "$cache"/build.*.log # left by a killed build
	tmp=$bin.new.$$
	log=$cache/build.$$.log
	say "building vault $version once into $cache (this takes minutes)"
	start=$(date +%s)
	compile >"$log" 2>&1 </dev/null &
	builder=$!
	echo starting >"$lock/progress"
	beat=0
	while kill -0 "$builder" 2>/dev/null; do
		sleep 1
		beat=$((beat + 1))
		[ $((beat % tick)) -eq 0 ] || continue
		line=$(progress $(($(date +%s) - start)))
		echo "$line" >"$lock/progress" 2>/dev/null || true
		say "$line"
	done
	if ! wait "$builder"; then
		builder=
		grep -v -e '^go: downloading' -e '^[^: ]*$' "$log" | tail -n 20 >&2 || true
		die "vault $version could not be built (see above). Put a vault $min_major.$min_minor or newer on PATH, or set VAULT_BIN."
	fi
	builder=
	[ "$(version_of "$tmp")" = "$version" ] || die "the new vault does not run as $version"
	mv -f "$tmp" "$bin"
	say "built in $(($(date +%s) - start)) s"
}

mode=${1:-}
case $mode in '' | --no-build) ;; *) die "unknown option $mode" ;; esac

if [ -n "${VAULT_BIN:-}" ]; then
	why=$(unfit "$VAULT_BIN")
	[ -z "$why" ] || die "VAULT_BIN: $VAULT_BIN $why"
	found "$VAULT_BIN"
fi

if on_path=$(command -v vault 2>/dev/null) && [ -x "$on_path" ]; then
	why=$(unfit "$on_path")
	[ -n "$why" ] || found "$(absolute "$on_path")" # PATH may have relative directories
	say "not using $on_path, which $why"
fi

version=$(pinned_version)
[ -n "$version" ] || die "tools/vault/go.mod has no version of github.com/hashicorp/vault"
cache=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/vault-plugin-ecgrid/vault-$version
bin=$cache/vault
lock=$cache/lock

good_build && found "$bin"
if [ "$mode" = --no-build ]; then
	say "no suitable vault on PATH or in $cache: run scripts/vault.sh, which builds one"
	exit 3
fi
command -v go >/dev/null 2>&1 || die "put Go $(go_minimum) or newer on PATH"

mkdir -p "$cache"
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
take_lock
good_build || build
found "$bin"
