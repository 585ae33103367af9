# SPDX-License-Identifier: MPL-2.0

# Operators configure the engine and rotate keys. They cannot read a key.
#
# Give this policy to few people. A write of config decides which server and which CA are
# trusted. A write of a role decides which user's key a team gets.

path "ecgrid/config" {
  capabilities = ["create", "update", "patch", "read", "delete"]
}

path "ecgrid/roles" {
  capabilities = ["list"]
}

path "ecgrid/roles/+" {
  capabilities = ["create", "update", "patch", "read", "delete"]
}

path "ecgrid/rotate-root" {
  capabilities = ["update"]
}

path "ecgrid/rotate-key/+" {
  capabilities = ["update"]
}

path "ecgrid/rotate-role/+" {
  capabilities = ["update"]
}

path "ecgrid/keys" {
  capabilities = ["list"]
}

path "ecgrid/status" {
  capabilities = ["read"]
}

path "ecgrid/info" {
  capabilities = ["read"]
}

path "ecgrid/metrics" {
  capabilities = ["read"]
}

# This also denies what a second policy with the same wildcards allows. It does not override
# a policy that names a single path, such as team-5001. Nobody should have both.
path "ecgrid/keys/*" {
  capabilities = ["deny"]
}

path "ecgrid/creds/*" {
  capabilities = ["deny"]
}

path "ecgrid/static-creds/*" {
  capabilities = ["deny"]
}
