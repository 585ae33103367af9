// Package panics keeps a bug of ours from ending a process that other mounts share.
package panics

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
)

// Err stands for a panic: a bug of ours, reported in the log.
var Err = errors.New("internal error, see the log of the plugin")

// Recover is deferred where a panic would otherwise end the process, and with it
// every mount of the plugin. The panic's value may hold anything, so only its type
// is logged.
func Recover(log hclog.Logger, err *error) {
	p := recover()
	if p == nil {
		return
	}
	log.Error("panic", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	*err = Err
}
