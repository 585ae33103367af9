// SPDX-License-Identifier: MPL-2.0

// Package register has the two files that esocopy puts into the copy of External Secrets
// Operator. There each replaces a list of all providers or of all generators.
package register

import (
	_ "github.com/external-secrets/external-secrets/pkg/provider/vault"
)
