# Runs the engine, and never sees a key.
#
# Whoever may write config decides which server and which CA are trusted, and whoever
# may write roles decides whose key a team gets: give this to few.

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

# Also against a second policy with the same wildcards. It does not hold against one
# that names a single path, such as team-5001: nobody should have both.
path "ecgrid/keys/*" {
  capabilities = ["deny"]
}

path "ecgrid/creds/*" {
  capabilities = ["deny"]
}
