// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// readOps are calls that may fail as often as they like. Failed Logins and ChangePasswords
// are rare, since a lockout must pause the engine for up to 15 minutes.
var readOps = []string{"UserGetAPIKey", "UserGetAPIKey", "UserGetAPIKey", "GenerateAPIKey", "UserList", "UserInfo", "WhoAmI", "Version"}

// readFaults are what happens to readOps.
var readFaults = []simulator.Fault{
	{Answer: simulator.AnswerReset}, {Answer: simulator.AnswerResetAfter}, {Answer: simulator.AnswerSilent},
	{Answer: simulator.AnswerHTML}, {Answer: simulator.AnswerHTML, Status: http.StatusBadGateway}, {Answer: simulator.AnswerStatus},
	{Answer: simulator.AnswerStatus, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}},
	{Answer: simulator.AnswerEmpty}, {Answer: simulator.AnswerHuge, Bytes: 2 * mb}, {Answer: simulator.AnswerTwice},
	{Answer: simulator.AnswerHalf}, {Answer: simulator.AnswerTruncated}, {Answer: simulator.AnswerDrip, Interval: time.Millisecond},
	{Answer: simulator.AnswerNullResult}, {Answer: simulator.AnswerWrongType}, {Answer: simulator.AnswerWrongOp}, {Answer: simulator.AnswerGzip},
	{Answer: simulator.AnswerUTF16}, {Cause: simulator.SessionDead}, {Cause: simulator.AccessDenied}, {Cause: simulator.NotFound}, {Cause: simulator.SystemError},
	{Delay: 300 * time.Millisecond}, {DelayAnswer: time.Second}, {DelayAnswer: 6 * time.Second},
}

// disturbance is something that happens at random times, with this mean pause in between.
type disturbance struct {
	name  string
	every time.Duration
	do    func(*world, *rand.Rand)
	// noFailover is for what a kill would make a lost Login of. Three of them pause the engine
	// for up to 15 minutes, and a run that stands still proves nothing.
	noFailover bool
}

var disturbances = []disturbance{
	{"fault of a call", 500 * time.Millisecond, func(w *world, r *rand.Rand) {
		f := pick(r, readFaults)
		f.Op, f.Times = pick(r, readOps), 1+r.IntN(3)
		w.grid.Inject(f)
	}, false},
	{"all faults cleared", 15 * time.Second, func(w *world, _ *rand.Rand) { w.grid.ClearFaults() }, false},
	{"sessions ended by ECGrid", 15 * time.Second, func(w *world, _ *rand.Rand) { w.grid.KillSessions(0) }, true},
	{"key replaced at ECGrid", 10 * time.Second, func(w *world, r *rand.Rand) { w.grid.ReplaceKey(pick(r, pick(r, w.mounts).users)) }, false},
	{"rotate-root", 30 * time.Second, func(w *world, r *rand.Rand) {
		w.countInPhase("rotate-root" + outcome(w.v.do(http.MethodPost, pick(r, w.mounts).path+"/rotate-root", nil)))
	}, false},
	{"slow Login", 20 * time.Second, fault(simulator.Fault{Op: "Login", Delay: time.Second}), true},
	{"lost Logout", 2 * time.Minute, fault(simulator.Fault{Op: "Logout", Answer: simulator.AnswerReset}), true},
	{"Login with a server fault", 4 * time.Minute, fault(simulator.Fault{Op: "Login", Cause: simulator.SystemError}), true},
	{"ChangePassword without an answer", 8 * time.Minute, fault(simulator.Fault{Op: "ChangePassword", Answer: simulator.AnswerResetAfter}), true},
	{"ChangePassword refused", 8 * time.Minute, fault(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied}), true},
	{"ChangePassword applied late", 8 * time.Minute, fault(simulator.Fault{Op: "ChangePassword", ApplyLate: 8 * time.Second}), true},
}

// fault is a disturbance of one call.
func fault(f simulator.Fault) func(*world, *rand.Rand) {
	f.Times = 1
	return func(w *world, _ *rand.Rand) { w.grid.Inject(f) }
}

// disturb lets each disturbance happen until ctx ends. Pauses have an exponential
// distribution, as those of independent failures have.
func (w *world) disturb(ctx context.Context, d disturbance, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	for {
		pause(ctx, time.Duration(r.ExpFloat64()*float64(d.every)))
		if ctx.Err() != nil {
			return
		}
		if d.noFailover && w.inPhase(phaseFailovers) {
			continue
		}
		w.count("disturbed by: " + d.name)
		d.do(w, r)
	}
}

// failover ends the service of the engine in some way. Each restores it.
type failover struct {
	name string
	do   func(*vault) error
}

var failovers = []failover{
	{"SIGKILL of Vault, restart and unseal", func(v *vault) error {
		v.Kill()
		if err := v.Launch(); err != nil {
			return err
		}
		return v.Unseal()
	}},
	{"SIGKILL of the plugin", func(v *vault) error {
		v.KillPlugins()
		return nil
	}},
	{"seal and unseal", func(v *vault) error {
		v.do(http.MethodPut, "sys/seal", nil)
		return v.Unseal()
	}},
	{"reload of the plugin", func(v *vault) error {
		v.do(http.MethodPut, "sys/plugins/reload/backend", fields{"plugin": pluginName})
		return nil
	}},
}
