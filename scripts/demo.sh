#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Shows the plugin on a real Vault: a leased ECGrid key, a move between SOAP and REST, a
# call with the key, and rotations. Then removes everything. ECGRID_TRANSPORT=rest begins
# with REST.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

prepare

say "The ECGrid simulator, over TLS with a CA of its own"
start_simulator
note "serves SOAP at $(ready soap), REST at $(ready rest)"

say "A real Vault ($(vault version)), in development mode"
start_vault

say "Register the plugin in Vault's catalog with its SHA-256, and mount it at ecgrid/"
install_plugin

say "Write ECGrid's login to Vault once; the password is read from a file and is not on the command line"
write_config "$transport"
note "Vault does not show the password:"
run vault read -field=username ecgrid/config

say "Create a policy that lets one team read one user's key, and a token with it"
write_policy
typed "team=\$(vault token create -policy=team-5001 -ttl=10m -field=token)"
operator=$VAULT_TOKEN
team=$(vault token create -policy=team-5001 -ttl=10m -field=token)

value() { printf '%s\n' "$lease" | awk -v name="$1" '$1 == name { sub(/^[^ ]+ +/, ""); print }'; }

# read_key shows the answer with the key shortened, and sets lease_id and key.
read_key() {
	typed "vault read ecgrid/keys/5001"
	lease=$(vault read ecgrid/keys/5001) || fail "the command failed"
	printf '%s\n' "$lease" | sed 's/^\(api_key  *....\).*/\1…/' | indent
	lease_id=$(value lease_id)
	key=$(value api_key)
	if [ -z "$lease_id" ] || [ -z "$key" ]; then fail "the answer has no leased key"; fi
}

# call_rest KEY: one REST call to ECGrid, with the key as X-API-Key.
call_rest() {
	typed "GET $(ready rest)/users/me"
	status=0
	printf '%s' "$1" | ./demokit rest ready.json ca.pem >answer.txt 2>&1 || status=$?
	indent <answer.txt
	return "$status"
}

# show_status shows in a line over which API ECGrid answers.
show_status() {
	note "ECGrid says: $(vault read -field=login_name ecgrid/status), over $(vault read -field=transport ecgrid/status) $(vault read -field=ecgrid_version ecgrid/status)"
}

say "The team reads its key, with a lease (the key is shortened here: it is a secret)"
typed "export VAULT_TOKEN=\$team"
VAULT_TOKEN=$team
read_key

say "Vault refuses another user's key"
refused vault read ecgrid/keys/5002

say "The team looks up and renews its lease"
run vault lease lookup "$lease_id"
run vault lease renew "$lease_id"

say "The operator moves the mount to the other of ECGrid's APIs; the lease survives"
typed "export VAULT_TOKEN=\$operator"
VAULT_TOKEN=$operator
case $transport in soap) other=rest ;; *) other=soap ;; esac
show_status
write_config "$other"
show_status
VAULT_TOKEN=$team
run vault lease renew "$lease_id"

say "The team calls ECGrid's REST API with the leased key as X-API-Key"
call_rest "$key" || fail "the leased key does not work"

say "The operator rotates the key and the password of the login"
typed "export VAULT_TOKEN=\$operator"
VAULT_TOKEN=$operator
run vault write -f ecgrid/rotate-key/5001
run vault write -f ecgrid/rotate-root

say "The old key stops working at once. Its lease cannot be renewed, so the team reads again"
VAULT_TOKEN=$team
old=$key
if call_rest "$old"; then fail "the old key still works"; fi
refused vault lease renew "$lease_id"
read_key
[ "$key" != "$old" ] || fail "Vault returned the old key"
call_rest "$key" || fail "the new key does not work"

say "The operator revokes the lease and removes the mount; the plugin logs out of ECGrid"
VAULT_TOKEN=$operator
run vault lease revoke -sync "$lease_id"
run vault secrets disable ecgrid
open=$(./demokit sessions ready.json ca.pem)
note "sessions left open at ECGrid: $open"
[ "$open" -eq 0 ] || fail "the plugin has not logged out"

say "Done. Everything is stopped and removed"
