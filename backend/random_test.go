// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRandomly does many things at once, in an order that a seed decides. Leases of
// several roles are issued, renewed and revoked. Keys and the password are replaced.
// ECGrid applies changes late. ECGrid and storage fail before and after an effect.
// Clients hang up. The config is written. The mount is moved. Processes are killed or
// step down. This must hold:
//
//   - the password that ECGrid has is stored, at any time;
//   - ECGrid refuses at most 3 logins in any 15 minutes, not counting those with the
//     password of a config write;
//   - a process has at most one session, or two while a written credential is tried or a
//     session is renewed;
//   - in the end no session is open but those whose Login had no answer;
//   - a revoke replaces no key that has another counted lease;
//   - a revoke replaces no key that never had a counted lease, as a second
//     GenerateAPIKey for the end of one key would;
//   - in the end every key that had a counted lease is replaced, and no lease is recorded.
//
// ECGRID_SEED runs one seed, ECGRID_SEEDS so many, ECGRID_RANDOMLY=10m for so long.
func TestRandomly(t *testing.T) {
	t.Parallel()
	if d, err := time.ParseDuration(os.Getenv("ECGRID_RANDOMLY")); err == nil {
		runSeedsFor(t, d)
		return
	}
	runSeeds(t, 200, runWorld)
}

// runSeeds runs a test with n seeds, or with those that the environment names.
func runSeeds(t *testing.T, n int, test func(t *testing.T, seed uint64)) {
	first := 1
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEEDS")); err == nil {
		n = s
	}
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEED")); err == nil {
		first, n = s, 1
	}
	for seed := first; seed < first+n; seed++ {
		runCase(t, strconv.Itoa(seed), func(t *testing.T) { test(t, uint64(seed)) })
	}
}

// runSeedsFor runs one seed after the other on each processor.
func runSeedsFor(t *testing.T, d time.Duration) {
	var last atomic.Uint64
	until := time.Now().Add(d)
	t.Run("for "+d.String(), func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for time.Now().Before(until) && !t.Failed() {
					synctest.Test(t, func(t *testing.T) { runWorld(t, last.Add(1)) })
				}
			})
		}
	})
	t.Logf("seeds 1 to %d", last.Load())
}

func runWorld(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	for i := range 80 {
		w.act(i)
	}
	w.comeToRest()
	w.checkEnd()
	if t.Failed() {
		t.Logf("repeat this with ECGRID_SEED=%d; %s", seed, strings.Join(w.log, ", "))
	}
}

// act does one thing after a pause.
func (w *world) act(i int) {
	if i%20 == 0 {
		w.with(func() { w.storm = w.plan.IntN(2) == 0 })
	}
	time.Sleep(time.Duration(w.plan.IntN(120e6)))
	w.checkPassword()
	n := w.plan.IntN(34)
	for _, a := range w.actions(i) {
		if n -= a.weight; n < 0 {
			a.do()
			return
		}
	}
}

type action struct {
	weight int
	do     func()
}

func (w *world) actions(i int) []action {
	return []action{
		{1, func() { w.replaceNode("kill", (*node).kill, time.Second) }},
		{1, func() { w.replaceNode("step down", func(n *node) { close(n.standby); go n.Close() }, 0) }},
		{1, func() {
			userID := oneOf(w, int32(5001), 5002)
			w.start("rotate-key", w.rotate(userID, func(n *node) { _, _ = n.RotateKey(context.Background(), userID) }))
		}},
		{1, func() {
			role := oneOf(w, "a", "s")
			w.start("rotate-role", w.rotate(map[string]int32{"a": 5001, "s": 5002}[role], func(n *node) { _, _ = n.RotateRole(context.Background(), role) }))
		}},
		{2, func() {
			w.start("rotate-root", func(n *node) { w.client(3, func(ctx context.Context) { _, _ = n.RotateRoot(ctx) }) })
		}},
		{2, func() { w.start("tick", w.tick) }},
		{8, func() { w.start("issue", w.issue(oneOf(w, "a", "b", "c", "s"))) }},
		{2, func() { w.start("renew", w.renew()) }},
		{7, func() { w.start("revoke", w.revoke(w.plan.IntN(3) > 0)) }},
		{1, func() { w.start("move", w.move()) }},
		{1, func() {
			ttl := time.Duration(i) * time.Minute
			w.start("config", func(n *node) { _ = n.WriteConfig(context.Background(), ConfigPatch{TTL: &ttl}, noManager{}) })
		}},
		{1, func() { w.start("typo", w.writePassword(fmt.Sprintf("%s-%d", operatorsTypo, i%3))) }},
		{1, func() { w.changePasswordOutside(fmt.Sprintf("outside-%d", i)) }},
		{1, func() { time.Sleep(time.Duration(w.plan.IntN(90)) * time.Minute) }},
		{2, func() { // the next change is applied late
			delay := time.Duration(w.plan.IntN(60e9))
			w.f.set(func() { w.f.applyAfter = append(w.f.applyAfter, delay) })
		}},
		{1, func() { // somebody else replaces a key
			time.Sleep(5 * time.Second)
			w.with(func() { w.outsideKey, w.outsideKeyAt = fmt.Sprintf("outside-%d", i), time.Now() })
			w.f.set(func() { w.f.keys[5001] = w.outsideKey })
		}},
		{1, func() { w.f.set(func() { clear(w.f.sessions) }) }}, // they expire
	}
}

func oneOf[T any](w *world, all ...T) T { return all[w.plan.IntN(len(all))] }

// start starts what a client or Vault does on the active node.
func (w *world) start(name string, do func(n *node)) {
	if do == nil {
		return
	}
	var n *node
	w.with(func() { n = w.active; w.logf("%s", name) })
	w.running.Go(func() { do(n) })
}

// client calls do with the context of a client, one in so many of whom hangs up.
func (w *world) client(oneIn int, do func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.with(func() {
		if after := time.Duration(w.luck.IntN(100e6)); w.luck.IntN(oneIn) == 0 {
			time.AfterFunc(after, cancel)
		}
	})
	do(ctx)
}

func (w *world) issue(role string) func(*node) {
	return func(n *node) {
		w.client(8, func(ctx context.Context) {
			issued, err := n.IssueCreds(ctx, role, 0)
			w.with(func() {
				if err != nil || n.isGone() {
					return
				}
				w.leases = append(w.leases, &vaultLease{Issued: issued, at: time.Now(), end: runsUntil(time.Now(), issued.Terms)})
				w.logf("issued %s of %s ttl %s max %s", issued.Lease.ID[:4], issued.APIKey, issued.Terms.TTL, issued.Terms.MaxTTL)
			})
		})
	}
}

// choose returns a lease that runs, or one that Vault could not revoke yet, or nil.
func (w *world) choose(ended bool) (chosen *vaultLease) {
	w.with(func() {
		var fit []*vaultLease
		for _, l := range w.leases {
			if l.ended == ended && !l.revoked && !l.busy {
				fit = append(fit, l)
			}
		}
		if len(fit) > 0 {
			chosen = fit[w.luck.IntN(len(fit))]
		}
	})
	return chosen
}

func (w *world) renew() func(*node) {
	lease := w.choose(false)
	if lease == nil {
		return nil
	}
	return func(n *node) {
		terms, err := n.RenewLease(context.Background(), lease.Lease, Renewal{Issued: lease.at, Was: lease.Terms})
		w.with(func() {
			if err == nil && !n.isGone() && lease.isRunning() {
				lease.end = runsUntil(lease.at, terms)
			}
		})
	}
}

// revoke ends a lease, or tries again to end one.
func (w *world) revoke(running bool) func(*node) {
	lease := w.choose(!running)
	if lease == nil {
		return nil
	}
	w.with(func() { lease.ended, lease.busy = true, true })
	return func(n *node) {
		w.with(func() { lease.busy = !n.isGone() }) // a move goes on after its process
		err := n.RevokeLease(context.Background(), lease.Lease)
		w.with(func() {
			lease.busy = false
			if n.isGone() {
				return // Vault got no answer
			}
			lease.revoked = err == nil
			w.logf("revoked %s: %v", lease.Lease.ID[:4], err)
		})
	}
}

// rotate marks a replacement that is not that of a revoke.
func (w *world) rotate(userID int32, do func(*node)) func(*node) {
	return func(n *node) {
		w.with(func() { n.rotating[userID]++ })
		do(n)
		w.with(func() { n.rotating[userID]-- })
	}
}

// tick runs a round of a node. There is at most one.
func (w *world) tick(n *node) {
	busy := false
	w.with(func() { busy, n.ticking = n.ticking, true })
	if busy {
		return
	}
	w.rotate(5002, func(n *node) {
		n.Tick(context.Background())
		for n.inRound.Load() { // it may go on after Tick
			time.Sleep(5 * time.Minute)
		}
	})(n)
	w.with(func() { n.ticking = false })
}

// move is `vault secrets move`: it revokes leases and runs a round while the mount is tainted.
func (w *world) move() func(*node) {
	w.f.tainted.Store(true)
	time.Sleep(2 * time.Minute) // what was in progress has ended
	return func(n *node) {
		defer w.f.tainted.Store(false)
		for range 5 {
			if revoke := w.revoke(true); revoke != nil {
				revoke(n)
			}
		}
		w.tick(n)
	}
}

// writePassword is a config write of an operator.
func (w *world) writePassword(password string) func(*node) {
	return func(n *node) {
		w.with(func() { n.writing++ })
		err := n.WriteConfig(context.Background(), ConfigPatch{Password: &password}, noManager{})
		w.with(func() {
			n.writing--
			w.logf("wrote %s: %v", password, err)
			if err == nil && !n.isGone() {
				w.unwritten = false
			}
		})
	}
}

// changePasswordOutside changes the password at ECGrid's own site, when no rotate-root is
// in progress. Then an operator writes it to config.
func (w *world) changePasswordOutside(password string) {
	time.Sleep(20 * time.Minute)
	if storedConfig(w.T, w.reader).unresolved() != nil || w.isUnwritten() {
		return
	}
	w.with(func() { w.unwritten, w.outside = true, password })
	w.f.set(func() { w.f.password, w.f.applyAfter = password, nil })
	w.start("operator", func(n *node) {
		for range 40 {
			w.writePassword(password)(n)
			if !w.isUnwritten() {
				return
			}
			time.Sleep(time.Minute)
			w.with(func() { n = w.active })
		}
	})
	time.Sleep(3 * time.Minute)
}

func (w *world) isUnwritten() (unwritten bool) {
	w.with(func() { unwritten = w.unwritten })
	return unwritten
}

// checkPassword checks that the password that ECGrid has is stored.
func (w *world) checkPassword() {
	stored := isPasswordStored(w.T, w.f, w.reader)
	w.with(func() {
		if !w.unwritten && !stored {
			w.Errorf("the password that ECGrid has is not stored")
			w.unwritten = true // report it once
		}
	})
}

// comeToRest lets all work end, and has Vault revoke all leases.
func (w *world) comeToRest() {
	w.with(func() { w.storm = false })
	w.f.set(func() { w.f.applyAfter = nil })
	w.f.tainted.Store(false)
	for range 40 {
		time.Sleep(time.Minute)
		w.start("tick", w.tick)
	}
	if w.unwritten {
		w.writePassword(w.outside)(w.active)
	}
	var leases []*vaultLease
	w.with(func() {
		leases = slices.Clone(w.leases)
		for _, l := range leases {
			if l.busy {
				w.Error("a revoke did not return")
			}
			l.ended = true
		}
	})
	for _, l := range leases {
		check(w.T, w.active.RevokeLease(context.Background(), l.Lease))
	}
	time.Sleep(w.active.MaxLeaseTTL() + holderGrace)
	for range 20 { // tidies up the leases that nobody got
		w.tick(w.active)
		time.Sleep(time.Minute)
	}
}

func (w *world) checkEnd() {
	checkHolders(w.T, w.reader, 0)
	for _, l := range w.leases {
		if w.f.now().keys[l.Lease.UserID] == l.APIKey {
			w.Errorf("%s is valid after its last lease", l.APIKey)
		}
	}
	for _, n := range slices.Backward(w.nodes) {
		close(n.buried)
	}
	w.running.Wait()
	w.startNode() // it logs out the sessions that are left
	readKey(w.T, w.active.Engine, 5001)
	for _, n := range w.nodes {
		n.Close()
	}
	time.Sleep(2 * time.Minute) // Logins that nobody waits for record their end
	w.checkPassword()
	checkRefused(w.T, w.f, 3)
	for id := range w.f.now().sessions {
		if w.noted[id] {
			w.Errorf("%s is noted in storage and still open", id)
		}
	}
}

// vaultLease is what Vault knows of a counted lease.
type vaultLease struct {
	Issued
	at, end time.Time
	ended   bool // Vault revokes it, again and again
	busy    bool // a revoke is in progress
	revoked bool
}

func (l *vaultLease) isRunning() bool { return !l.ended && !time.Now().After(l.end) }

// runsUntil is when Vault ends a lease.
func runsUntil(issued time.Time, terms Terms) time.Time {
	end := time.Now().Add(cmp.Or(terms.TTL, 768*time.Hour))
	if last := issued.Add(terms.MaxTTL); terms.MaxTTL > 0 && last.Before(end) {
		return last
	}
	return end
}

func newRand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
