package backend

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
)

// ErrPanic stands for a panic: a bug of ours, reported in the log.
var ErrPanic = errors.New("internal error, see the log of the plugin")

// Recovered is deferred where a panic would otherwise end the process, and with
// it every mount of the plugin. The panic's value may hold anything, so only its
// type is logged.
func Recovered(log hclog.Logger, err *error) {
	p := recover()
	if p == nil {
		return
	}
	log.Error("panic", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	*err = ErrPanic
}
