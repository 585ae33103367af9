variable "plugin_version" {
  description = "Version of the release, as the binary reports it."
  type        = string
  default     = "v0.1.0"
}

variable "plugin_command" {
  description = "File name of the binary in Vault's plugin_directory."
  type        = string
  default     = "vault-plugin-ecgrid"
}

variable "plugin_sha256" {
  description = "SHA-256 of the binary in Vault's plugin_directory, not of the archive."
  type        = string
}

variable "ecgrid_url" {
  description = "ECGridOS v4.1 SOAP endpoint."
  type        = string
  default     = "https://os.ecgrid.io/v4.1/prod/ECGridOS.asmx"
}

variable "ecgrid_ca_cert" {
  description = "PEM to trust for it instead of the system's; empty: the system's."
  type        = string
  default     = ""
}

variable "ecgrid_username" {
  description = "LoginName of the ECGrid user that Vault alone uses."
  type        = string
}

variable "ecgrid_password" {
  description = "Its password: only for the first apply, and when login_version is raised."
  type        = string
  default     = ""
  ephemeral   = true # in neither state nor plan
}

variable "login_version" {
  description = "Raise it to send url and login again, after the password was set anew in ECGrid."
  type        = number
  default     = 1
}
