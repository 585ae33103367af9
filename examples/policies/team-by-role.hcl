# A team by its role: operators choose the ECGrid user and the lease in
# ecgrid/roles/gateway, and may change both without touching this policy.

path "ecgrid/creds/gateway" {
  capabilities = ["read"]
}
