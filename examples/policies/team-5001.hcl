# One team, one ECGrid user.
# Leases are renewed with the "default" policy, which every token has.

path "ecgrid/keys/5001" {
  capabilities = ["read"]
}
