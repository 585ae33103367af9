// SPDX-License-Identifier: MPL-2.0

package register

import (
	_ "github.com/external-secrets/external-secrets/pkg/generator/vault"
)
