# Sees who could have what, and how rotations go; sees no key, changes nothing.

path "ecgrid/config" {
  capabilities = ["read"] # secrets are never returned
}

path "ecgrid/keys" {
  capabilities = ["list"]
}

path "ecgrid/roles" {
  capabilities = ["list"]
}

path "ecgrid/roles/+" {
  capabilities = ["read"]
}

path "ecgrid/status" {
  capabilities = ["read"]
}

path "ecgrid/info" {
  capabilities = ["read"]
}
