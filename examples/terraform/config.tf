# SPDX-License-Identifier: MPL-2.0

# The other fields of config. Fields that are not in the file keep their value.
resource "vault_generic_endpoint" "config" {
  depends_on = [ephemeral.vault_generic_endpoint.login]

  path                 = "${vault_mount.ecgrid.path}/config"
  data_json            = file("${path.module}/config.json")
  ignore_absent_fields = true # config has more fields than the file
  disable_delete       = true # the mount is destroyed with it
}

# One file for each role.
resource "vault_generic_endpoint" "role" {
  for_each   = fileset("${path.module}/roles", "*.json")
  depends_on = [ephemeral.vault_generic_endpoint.login]

  path                 = "${vault_mount.ecgrid.path}/roles/${trimsuffix(each.value, ".json")}"
  data_json            = file("${path.module}/roles/${each.value}")
  ignore_absent_fields = true
}

resource "vault_policy" "ecgrid" {
  for_each = fileset("${path.module}/../policies", "*.hcl")

  name   = "ecgrid-${trimsuffix(each.value, ".hcl")}"
  policy = file("${path.module}/../policies/${each.value}")
}
