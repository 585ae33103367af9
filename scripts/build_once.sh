# SPDX-License-Identifier: MPL-2.0

# Builds a program of a module in tools/ once per machine, into the user's cache. For sourcing
# by vault.sh, tofu.sh and prometheus.sh, which set the variables and functions named here:
#
#   me        the script, for messages
#   what      the program and its version, for messages
#   packages  about how many packages are compiled
#   version   that the program prints
#   cache     the directory for it, in ${XDG_CACHE_HOME:-$HOME/.cache}/vault-plugin-ecgrid
#   bin       the program in it
#   advice    what to do if it cannot be built
#   build_command  what to type to build it, if that is not the script alone
#   version_of FILE, compile (writes $tmp, with go build -v)
#
# shellcheck shell=sh disable=SC2154

tick=10         # seconds between two progress messages
lock_timeout=90 # seconds without progress after which another builder counts as dead

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() {
	say "$*"
	exit 1
}
found() {
	printf '%s\n' "$1"
	exit 0
}

lines() { grep -c "$1" "$2" 2>/dev/null || true; }

# The log of the build has one line for each module, then one for each package.
progress() {
	printf '%s s, %s modules fetched, %s of about %s packages compiled' \
		"$1" "$(lines '^go: downloading' "$log")" "$(lines '^[^: ]*$' "$log")" "$packages"
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

good_build() { [ -x "$bin" ] && [ "$(version_of "$bin")" = "$version" ]; }

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

build() {
	rm -f "$bin".new.* "$cache"/build.*.log # left by a killed build
	tmp=$bin.new.$$
	log=$cache/build.$$.log
	say "building $what once into $cache (this takes minutes)"
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
		die "$what could not be built (see above). $advice"
	fi
	builder=
	[ "$(version_of "$tmp")" = "$version" ] || die "the new $what does not run"
	mv -f "$tmp" "$bin"
	say "built in $(($(date +%s) - start)) s"
}

# cached_or_built MODE prints the program. With the mode --no-build it exits with status 3
# instead of building.
cached_or_built() {
	lock=$cache/lock
	good_build && found "$bin"
	if [ "$1" = --no-build ]; then
		say "no suitable program on PATH or in $cache: run ${build_command:-scripts/$me}, which builds one"
		exit 3
	fi
	command -v go >/dev/null 2>&1 || die "put Go $(sed -n 's/^go //p' "$root/go.mod") or newer on PATH"
	mkdir -p "$cache"
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	take_lock
	good_build || build
	found "$bin"
}
