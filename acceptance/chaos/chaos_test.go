package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
)

const (
	shortRun = 25 * time.Second
	longRun  = time.Minute // or longer
	// recoveryTime is how soon after the last failure everything has to work, without an
	// operator.
	recoveryTime = 3 * time.Minute

	clockFormat = "15:04:05.000"
)

// badRates are the failures under load.
func badRates(lateMax time.Duration) fakegrid.Rates {
	return fakegrid.Rates{
		Latency: 200 * time.Millisecond,
		Late:    0.25, LateMax: lateMax,
		Lost: 0.01, Never: 0.01, Twice: 0.03, Silent: 0.02, Fault: 0.02,
		Unavailable: 0.01, HTML: 0.005, Truncated: 0.01, Kill: 0.003,
	}
}

func settings(t *testing.T) (duration time.Duration, seed uint64) {
	t.Helper()
	duration, seed = shortRun, rand.Uint64()
	var err error
	if s := os.Getenv("ECGRID_CHAOS"); s != "" {
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("ECGRID_CHAOS_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return duration, seed
}

// TestNothingIsLostUnderChaos runs load during failures, waits for the recovery, and
// checks the rules.
func TestNothingIsLostUnderChaos(t *testing.T) {
	t.Parallel()
	needVault(t)
	duration, seed := settings(t)
	var out output
	defer func() { t.Logf("\n%s", out.String()) }()
	fmt.Fprintf(&out, "ECGRID_CHAOS=%s ECGRID_CHAOS_SEED=%d\n", duration, seed)

	grid, err := fakegrid.Start(fakegrid.Options{
		Limits: fakegrid.Limits{Sessions: 5, SessionIdle: 40 * time.Second, LockAfter: 10},
		Users:  users(), Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(grid.Close)
	v := startVault(t)
	l := &load{grid: grid, v: v, checker: newChecker(grid), seed: seed, maxRootRefused: 1}
	if duration >= longRun {
		l.maxRootRefused = 2
	}
	l.prepare(t)

	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	grid.SetRates(badRates(min(20*time.Second, duration/3)))
	var all sync.WaitGroup
	all.Go(func() { l.run(ctx) })
	all.Go(func() { l.disturb(ctx, min(max(duration/9, 2*time.Second), 15*time.Second)) })
	all.Wait()
	fmt.Fprintf(&out, "%-36s %d\n", "sessions when it ended", len(grid.OpenSessions(login)))

	l.checkLoad(t)

	l.checkRecovery(&out)
	l.checkRun(&out)
	l.checker.print(&out)
	l.searchSecrets(t, &out)
	for rule, broken := range l.checker.violations {
		t.Errorf("broken rule: %s (%d times). First: %s", rule, len(broken), strings.Join(broken[:min(3, len(broken))], "; "))
	}
}

// output is the table of a run. It is searched for secrets too.
type output struct {
	mu sync.Mutex
	strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Builder.Write(p)
}

// checkLoad fails the test if there was too little load or too few failures.
func (l *load) checkLoad(t *testing.T) {
	t.Helper()
	const fewest = 30
	met := l.grid.Counts()
	for what, n := range map[string]int{
		"leases": len(l.checker.allLeases()), "keys handed out": met["UserGetAPIKey"],
		"failures": met["answered twice"] + met["answer lost"] + met["server fault"] + met["connection silent after"] + met["never applied"],
	} {
		if n < min(fewest, 1+len(l.checker.allLeases())/20) {
			t.Errorf("the run proves nothing: %d %s", n, what)
		}
	}
}

func (l *load) prepare(t *testing.T) {
	t.Helper()
	l.v.must(t, http.MethodPost, "ecgrid/config", fields{
		"url": l.grid.URL, "ca_cert": string(l.grid.CA), "username": login, "password": firstPassword,
		"ttl": leaseTTL, "max_ttl": "1h", "request_timeout": "3s", "session_idle_timeout": "5s",
	})
	l.v.must(t, http.MethodPost, "cached/config", fields{
		"url": l.grid.URL, "ca_cert": string(l.grid.CA), "api_key": l.grid.Keys(keyID)[0].Value,
		"ttl": leaseTTL, "max_ttl": "1h", "request_timeout": "3s", "key_cache_ttl": cacheTTL.String(),
	})
	for _, s := range sources {
		if s.role == nil {
			continue
		}
		role := fields{"user_id": s.user}
		for name, value := range s.role {
			role[name] = value
		}
		l.v.must(t, http.MethodPost, s.at("roles/"+s.roleName()), role)
	}
	for _, s := range sources {
		if l.read(s) == nil {
			t.Fatalf("%s cannot be read without failures", s.path)
		}
	}
}

// checkRecovery ends all failures and checks that everything works again by itself.
func (l *load) checkRecovery(w io.Writer) {
	l.grid.SetRates(fakegrid.Rates{})
	l.deadline = time.Now().Add(recoveryTime + l.pauseLeft())
	l.checkLeases(w)
	began := time.Now()
	l.poll(func() bool { return l.grid.PendingChanges() == 0 })
	for _, s := range sources {
		l.await("a read of "+s.path+" works again", func() bool { return l.read(s) != nil })
	}
	fmt.Fprintf(w, "%-36s %v\n", "all reads work again after", time.Since(began).Round(time.Second))
	l.checkPassword()
	l.checkSessions()
	l.deadline = time.Now().Add(recoveryTime)
	l.revokeAll(w)
}

// pauseLeft is how long the engine must not log in after refused Logins. A short run has
// too few of them, and no time to wait.
func (l *load) pauseLeft() time.Duration {
	refusals := l.grid.Refusals()
	if l.maxRootRefused == 1 || len(refusals) < maxRefused {
		return 0
	}
	return max(0, refusedWindow-time.Since(refusals[len(refusals)-maxRefused].At))
}

// poll waits until the condition is met. It returns false at the deadline.
func (l *load) poll(met func() bool) bool {
	for !met() {
		if time.Now().After(l.deadline) {
			return false
		}
		time.Sleep(200 * time.Millisecond)
	}
	return true
}

func (l *load) await(rule string, met func() bool) {
	if !l.poll(met) {
		l.checker.violation(rule, "not by %s", l.deadline.Format(time.TimeOnly))
	}
}

// checkLeases looks up and renews every lease that cannot have ended.
func (l *load) checkLeases(w io.Writer) {
	lost, found := 0, 0
	for _, got := range l.checker.allLeases() {
		if !l.checker.isLive(got, 3*time.Second) {
			continue
		}
		if r := l.v.do(http.MethodPost, "sys/leases/lookup", fields{"lease_id": got.id}); r.OK() {
			found++
		} else if l.checker.isLive(got, time.Second) {
			lost++
			l.checker.violation("no lease is lost", "user %d, lookup answered %d", got.user, r.Status)
		}
		l.renew(got)
	}
	fmt.Fprintf(w, "%-36s %d\n%-36s %d\n", "leases found", found, "leases lost", lost)
}

// checkPassword makes a new process log in with the stored password, before and after
// rotate-root.
func (l *load) checkPassword() {
	rotate := func() bool {
		r := l.v.do(http.MethodPost, "ecgrid/rotate-root", nil)
		l.checker.count("rotate-root when calm", r.Status)
		return r.OK()
	}
	newProcess := func() bool {
		_ = l.killPlugin()
		return l.poll(func() bool { return l.read(sources[0]) != nil })
	}
	l.await("the stored password works", newProcess)
	l.await("rotate-root works again", rotate)
	if !rotate() {
		l.checker.violation("a second rotate-root works at once", "it did not")
	}
	l.await("the password after rotate-root works", newProcess)
}

// checkSessions runs right after a kill. The new process has to log out the sessions of the
// killed one before they expire.
func (l *load) checkSessions() {
	deadline := time.Now().Add(5 * time.Second)
	for len(l.grid.OpenSessions(login)) > 1 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	open := l.grid.OpenSessions(login)
	for _, o := range open {
		if len(open) > 1 {
			l.checker.violation("at most one session is open", "opened %s and used %s, now %s", o.At.Format(clockFormat), o.Used.Format(clockFormat), time.Now().Format(clockFormat))
		}
	}
}

// revokeAll revokes the leases that are left.
func (l *load) revokeAll(w io.Writer) {
	for _, mount := range mounts {
		l.await("all leases can be revoked", func() bool {
			r := l.v.do(http.MethodPut, "sys/leases/revoke-prefix/"+mount, fields{"sync": true})
			l.checker.count("revoke-prefix", r.Status)
			return r.OK()
		})
		if r := l.v.do("LIST", "sys/leases/lookup/"+mount, nil); r.Status != http.StatusNotFound {
			l.checker.violation("no lease is left", "status %d", r.Status)
		}
	}
	for _, got := range l.checker.allLeases() {
		if l.checker.isLive(got, 0) {
			l.checker.leaseEnded(got)
		}
	}
	irrevocable := l.v.do(http.MethodGet, "sys/leases/count?type=irrevocable", nil)
	if n, _ := irrevocable.Data["lease_count"].(float64); !irrevocable.OK() || n > 0 {
		l.checker.violation("no lease is irrevocable", "%v are, status %d", n, irrevocable.Status)
	}
	began := time.Now()
	l.await("every counted key is dead after its last lease", func() bool { return l.checker.liveCountedKeys() == 0 })
	fmt.Fprintf(w, "%-36s %v\n", "counted keys dead after", time.Since(began).Round(time.Second))
}

// checkRun checks the rules for the whole run.
func (l *load) checkRun(w io.Writer) {
	grid := l.grid
	fmt.Fprintf(w, "%-36s %v\n", "slowest counted key died after", l.checker.checkCountedKeys().Round(time.Millisecond))
	l.checker.checkRefusedLogins()
	l.checker.checkFailedRotations()
	for rule, n := range grid.Violations() {
		l.checker.violation("every request conforms to the WSDL", "%s (%d)", rule, n)
	}
	l.checkSchedule()
	spans := grid.Passwords(login)
	for _, line := range []struct {
		what string
		n    int
	}{
		{"logins", grid.Logins()}, {"refused", len(grid.Refusals())}, {"most sessions open at once", grid.MaxOpenSessions(login)},
		{"passwords", len(spans)}, {"protocol violations", len(grid.Violations())},
	} {
		fmt.Fprintf(w, "%-36s %d\n", line.what, line.n)
	}
	for _, r := range grid.Refusals() {
		fmt.Fprintf(w, "  refused at %s: %s; %d orphaned sessions\n", r.At.Format(clockFormat), r.Reason, r.Orphaned)
	}
	for _, s := range spans[1:] {
		fmt.Fprintf(w, "  password changed at %s\n", s.From.Format(clockFormat))
	}
	fmt.Fprintln(w, "-- at ECGrid")
	printSorted(w, grid.Counts())
	fmt.Fprintln(w, "-- at Vault")
}

// checkSchedule compares last_rotation of the role with ECGrid's history.
func (l *load) checkSchedule() {
	for _, s := range sources {
		if s.role["rotation_period"] == nil {
			continue
		}
		r := l.v.do(http.MethodGet, s.at("roles/"+s.roleName()), nil)
		said, _ := r.Data["last_rotation"].(string)
		if said != "" && !l.grid.Keys(s.user)[0].Dead(time.Now()) {
			l.checker.violation("a recorded rotation was applied", "user %d", s.user)
		}
	}
}

// searchSecrets comes last: it needs the whole history and everything that was written.
func (l *load) searchSecrets(t *testing.T, out *output) {
	t.Helper()
	secrets := l.grid.Secrets()
	find := newFinder(secrets)
	written, err := l.v.written()
	if err != nil {
		t.Fatal(err)
	}
	written["the test's own output"] = []byte(out.String())
	if len(secrets) < 10 || len(written["the audit log"]) == 0 || !strings.Contains(string(written["Vault's log and the plugin's stderr"]), "[TRACE]") {
		t.Error("the search proves nothing: too little was written")
	}
	found, size := 0, 0
	for place, said := range written {
		n, before := find.count(said)
		found, size = found+n, size+len(said)
		if n > 0 {
			l.checker.violation("no secret is written", "%d in %s, the first after %q", n, place, before)
		}
	}
	fmt.Fprintf(out, "%-36s %d (of %d, in %d KiB)\n", "secrets found", found, len(secrets), size/1024)
}
