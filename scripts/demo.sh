#!/bin/sh
# From nothing to a leased ECGrid key and one REST call made with it; then tidies up.
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

say "The main job: the team reads its key, leased (cut short here: a key is a secret)"
typed "export VAULT_TOKEN=\$team"
VAULT_TOKEN=$team
typed "vault read ecgrid/keys/5001"
lease=$(vault read ecgrid/keys/5001) || fail "that was meant to work"
printf '%s\n' "$lease" | sed 's/^\(api_key  *....\).*/\1…/' | indent
value() { printf '%s\n' "$lease" | awk -v name="$1" '$1 == name { sub(/^[^ ]+ +/, ""); print }'; }
lease_id=$(value lease_id)
key=$(value api_key)
if [ -z "$lease_id" ] || [ -z "$key" ]; then fail "the answer holds no leased key"; fi

say "Another user's key is refused"
refused vault read ecgrid/keys/5002

say "The lease: looked up and renewed by the team itself"
run vault lease lookup "$lease_id"
run vault lease renew "$lease_id"

say "One REST call to ECGrid with the leased key as X-API-Key"
typed "GET $(ready rest)/users/me"
answer=$(printf '%s' "$key" | ./demokit rest ready.json ca.pem) || fail "the leased key does not work"
printf '%s\n' "$answer" | indent

say "The operator revokes the lease and removes the mount; the plugin logs out of ECGrid"
typed "export VAULT_TOKEN=\$operator"
VAULT_TOKEN=$operator
run vault lease revoke -sync "$lease_id"
run vault secrets disable ecgrid
open=$(./demokit sessions ready.json ca.pem)
note "sessions left open at ECGrid: $open"
[ "$open" -eq 0 ] || fail "none should be"

say "Done; everything that was started is stopped and removed"
