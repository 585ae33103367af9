// SPDX-License-Identifier: MPL-2.0

// Package panics turns a panic into an error: other mounts share the plugin's process.
package panics

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
)

// Err stands for a panic, which is a bug of the plugin. The log has the details.
var Err = errors.New("internal error, see the log of the plugin")

// Recover stops a panic and sets err to Err. It must be deferred directly. It logs only
// the type of the panic's value, which may hold a secret.
func Recover(log hclog.Logger, err *error) {
	p := recover()
	if p == nil {
		return
	}
	log.Error("panic", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	*err = Err
}
