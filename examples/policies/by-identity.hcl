# SPDX-License-Identifier: MPL-2.0

# One policy for all teams. Each team reads the key of the ECGrid user in the metadata of
# its identity entity.
#
#   vault write identity/entity name=edi-gateway metadata=ecgrid_user_id=5001
#
# The value becomes part of the path, and "*" would be a wildcard. Anyone who can write the
# metadata decides which key the team can read.

path "ecgrid/keys/{{identity.entity.metadata.ecgrid_user_id}}" {
  capabilities = ["read"]
}
