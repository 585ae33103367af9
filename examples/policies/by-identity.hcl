# One policy for all teams: each reads the key of the ECGrid user that is written on
# its identity entity.
#
#   vault write identity/entity name=edi-gateway metadata=ecgrid_user_id=5001
#
# The value becomes part of the path as it stands, and "*" would be a wildcard: whoever
# may write the entity's metadata decides whose key it is.

path "ecgrid/keys/{{identity.entity.metadata.ecgrid_user_id}}" {
  capabilities = ["read"]
}
