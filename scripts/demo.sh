#!/bin/sh
# From nothing to a leased ECGrid key, one REST call made with it, and a rotation
# that the team comes through; then tidies up.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

prepare

say "An ECGrid to talk to: the simulator, over TLS with a CA of its own"
start_simulator
note "listens at $soap_url"

say "A real Vault ($(vault version)), in development mode"
start_vault

say "The plugin goes into Vault's catalog by its SHA-256, and is mounted at ecgrid/"
install_plugin

say "ECGrid's login goes into Vault once; the password comes from a file, never from the command line"
write_config
note "what Vault shows of it holds no password:"
run vault read -field=username ecgrid/config

say "A policy lets one team read one user's key, and a token gets that policy"
write_policy
typed "team=\$(vault token create -policy=team-5001 -ttl=10m -field=token)"
operator=$VAULT_TOKEN
team=$(vault token create -policy=team-5001 -ttl=10m -field=token)

value() { printf '%s\n' "$lease" | awk -v name="$1" '$1 == name { sub(/^[^ ]+ +/, ""); print }'; }

# read_key shows the answer with the key cut short, and keeps lease_id and key.
read_key() {
	typed "vault read ecgrid/keys/5001"
	lease=$(vault read ecgrid/keys/5001) || fail "that was meant to work"
	printf '%s\n' "$lease" | sed 's/^\(api_key  *....\).*/\1…/' | indent
	lease_id=$(value lease_id)
	key=$(value api_key)
	if [ -z "$lease_id" ] || [ -z "$key" ]; then fail "the answer holds no leased key"; fi
}

# call_rest KEY: one REST call to ECGrid, with the key as X-API-Key.
call_rest() {
	typed "GET $(ready rest)/users/me"
	status=0
	printf '%s' "$1" | ./demokit rest ready.json ca.pem >answer.txt 2>&1 || status=$?
	indent <answer.txt
	return "$status"
}

say "The main job: the team reads its key, leased (cut short here: a key is a secret)"
typed "export VAULT_TOKEN=\$team"
VAULT_TOKEN=$team
read_key

say "Another user's key is refused"
refused vault read ecgrid/keys/5002

say "The lease: looked up and renewed by the team itself"
run vault lease lookup "$lease_id"
run vault lease renew "$lease_id"

say "One REST call to ECGrid with the leased key as X-API-Key"
call_rest "$key" || fail "the leased key does not work"

say "The operator has ECGrid replace the key, and the login's own password"
typed "export VAULT_TOKEN=\$operator"
VAULT_TOKEN=$operator
run vault write -f ecgrid/rotate-key/5001
run vault write -f ecgrid/rotate-root

say "The old key is dead at once; its lease is not renewed, so an agent reads again"
VAULT_TOKEN=$team
old=$key
if call_rest "$old"; then fail "the old key still works"; fi
refused vault lease renew "$lease_id"
read_key
[ "$key" != "$old" ] || fail "that is the old key"
call_rest "$key" || fail "the new key does not work"

say "The operator revokes the lease and removes the mount; the plugin logs out of ECGrid"
VAULT_TOKEN=$operator
run vault lease revoke -sync "$lease_id"
run vault secrets disable ecgrid
open=$(./demokit sessions ready.json ca.pem)
note "sessions left open at ECGrid: $open"
[ "$open" -eq 0 ] || fail "none should be"

say "Done; everything that was started is stopped and removed"
