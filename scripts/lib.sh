# SPDX-License-Identifier: MPL-2.0

# shellcheck shell=sh
# shellcheck disable=SC2154 # root is the caller's
# Functions of demo.sh and dev.sh. Source it with $root set to the repository.

set -eu

# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"

for name in $(env | sed -n 's/^\(\(VAULT\|BAO\)_[A-Z0-9_]*\)=.*/\1/p'); do
	case $name in VAULT_BIN) ;; *) unset "$name" ;; esac # the user's own Vault must not be used
done

# shellcheck disable=SC2034 # of the first config, in demo.sh and dev.sh
transport=${ECGRID_TRANSPORT:-soap}
work=
storage= # a stanza of vault.hcl, or in memory
vault_pid=
simulator_pid=

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
typed() { printf '   $ %s\n' "$*"; }
indent() { sed 's/^/     /'; }
fail() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# run COMMAND…: shows the command and its output.
run() {
	typed "$*"
	answer=$("$@" 2>&1) || {
		printf '%s\n' "$answer" | indent
		fail "the command failed"
	}
	[ -z "$answer" ] || printf '%s\n' "$answer" | indent
}

# refused COMMAND…: the same for a command that must fail.
refused() {
	typed "$*"
	if answer=$("$@" 2>&1); then fail "the command was not refused"; fi
	printf '%s\n' "$answer" | sed '/^$/d' | indent
}

stop() {
	[ -n "$1" ] || return 0
	kill "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# shellcheck disable=SC2317 # called by the trap
tidy_up() {
	trap '' HUP INT TERM # not again
	stop "$vault_pid"    # first: the plugin logs out at the simulator
	stop "$simulator_pid"
	[ -z "$work" ] || rm -rf "$work"
}

prepare() {
	vault_bin=$("$root/scripts/vault.sh")
	trap tidy_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	umask 077
	work=$(mktemp -d "$TMPDIR/ecgrid.XXXXXX")
	(cd "$root" && go build -o "$work/demokit" ./scripts/demokit)
	cd "$work"
	mkdir bin
	ln -s "$vault_bin" bin/vault # the file may have another name
	PATH=$work/bin:$PATH
}

# alive PID LOG: if the process has ended, prints the end of LOG and fails.
alive() {
	kill -0 "$1" 2>/dev/null && return 0
	tail -n 15 "$2" >&2
	return 1
}

start_simulator() {
	typed "ecgrid-simulator --listen 127.0.0.1:0 --tls --ca-file ca.pem --ready-file ready.json &"
	"$root/bin/ecgrid-simulator" --listen 127.0.0.1:0 --tls --ca-file ca.pem --ready-file ready.json \
		>simulator.log 2>&1 &
	simulator_pid=$!
	tries=0
	until [ -s ready.json ] && ready soap >/dev/null 2>&1; do
		alive "$simulator_pid" simulator.log || fail "the simulator has ended"
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || fail "the simulator is not ready after 20 s"
		sleep 0.2
	done
}

ready() { ./demokit field ready.json "$1"; }

# A free port may be in use a moment later. Then it tries another one.
start_vault() {
	for attempt in 1 2 3 4 5; do
		[ "$attempt" -eq 1 ] || note "the port is in use, trying another one"
		port=$(./demokit port)
		if try_vault; then return 0; fi
		stop "$vault_pid"
		vault_pid=
		grep -q 'address already in use' vault.log || break
	done
	tail -n 15 vault.log >&2
	fail "vault did not start"
}

try_vault() {
	VAULT_ADDR=http://127.0.0.1:$port
	VAULT_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
	export VAULT_ADDR VAULT_TOKEN
	printf 'plugin_directory = "%s"\n%s\n' "$root/bin" "$storage" >vault.hcl
	typed "vault server -dev -dev-no-store-token -dev-listen-address=127.0.0.1:$port -config=vault.hcl &"
	# The token is in the environment, since every user can see arguments.
	VAULT_DEV_ROOT_TOKEN_ID=$VAULT_TOKEN BAO_DEV_ROOT_TOKEN_ID=$VAULT_TOKEN vault server -dev -dev-no-store-token \
		-dev-listen-address="127.0.0.1:$port" -config=vault.hcl >vault.log 2>&1 &
	vault_pid=$!
	tries=0
	until vault token lookup >/dev/null 2>&1; do
		kill -0 "$vault_pid" 2>/dev/null || return 1
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || return 1
		sleep 0.2
	done
	# If this server has ended, another one answered on its port.
	kill -0 "$vault_pid" 2>/dev/null
}

# Vault accepts only the version that the binary reports.
plugin_version() {
	"$root/bin/vault-plugin-ecgrid" -version | sed -n 's/.*\(v[0-9][0-9]*\.[0-9][0-9A-Za-z.+-]*\).*/\1/p' | head -n 1
}

install_plugin() {
	sum=$("$root/scripts/sha256.sh" "$root/bin/vault-plugin-ecgrid")
	run vault plugin register -sha256="$sum" -version="$(plugin_version)" secret vault-plugin-ecgrid
	run vault secrets enable -path=ecgrid vault-plugin-ecgrid
}

# write_config TRANSPORT: soap or rest.
write_config() {
	ready password >password.txt
	run vault write ecgrid/config transport="$1" url="$(ready "$1")" username="$(ready login)" \
		password=@password.txt ca_cert=@ca.pem
	rm -f password.txt
}

team_policy='path "ecgrid/keys/5001" { capabilities = ["read"] }'

write_policy() {
	printf '%s\n' "$team_policy" >team-5001.hcl
	note "team-5001.hcl: $team_policy"
	run vault policy write team-5001 team-5001.hcl
}
