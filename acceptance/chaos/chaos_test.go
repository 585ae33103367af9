// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const (
	shortRun = 25 * time.Second
	longRun  = time.Minute // or longer
	// recoveryTime is how soon after the last failure everything has to work, without an
	// operator.
	recoveryTime = 3 * time.Minute

	// sessionLife is how long sessions and tokens live under load. It is short enough for
	// the orphaned ones to be gone within the recovery.
	sessionLife = 40 * time.Second

	// longestWait is how long the engine may have to wait after failed Logins.
	longestWait = refusedWindow + time.Minute
	// maxShortRuns is how many short runs are made until one does not end in such a wait.
	maxShortRuns = 4
	afterWait    = 10 * time.Second

	clockFormat = "15:04:05.000"
)

// badRates are the failures under load. SOAP knows no rate limit.
func badRates(transport string, lateMax time.Duration) fakegrid.Rates {
	rates := fakegrid.Rates{
		Latency: 200 * time.Millisecond,
		Late:    0.25, LateMax: lateMax,
		Lost: 0.01, Never: 0.01, Twice: 0.03, Silent: 0.02, Fault: 0.02,
		Unavailable: 0.01, HTML: 0.005, Truncated: 0.01, Kill: 0.003,
	}
	if transport == rest {
		rates.Limited = 0.02
	}
	return rates
}

// settings are those of the environment.
type settings struct {
	duration  time.Duration
	seed      uint64
	transport string
}

func readSettings(t *testing.T) settings {
	t.Helper()
	s := settings{shortRun, rand.Uint64(), cmp.Or(os.Getenv("ECGRID_TRANSPORT"), soap)}
	var err error
	if text := os.Getenv("ECGRID_CHAOS"); text != "" {
		if s.duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("ECGRID_CHAOS_SEED"); text != "" {
		if s.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if s.transport != soap && s.transport != rest {
		t.Fatalf("ECGRID_TRANSPORT is neither %s nor %s", soap, rest)
	}
	return s
}

// reading picks what ECGrid's REST API does under load. SOAP has one reading.
func (s settings) reading() (name string, reading fakegrid.RESTReading) {
	if s.transport == soap {
		return "", fakegrid.RESTReading{}
	}
	var names []string
	for name, reading := range fakegrid.RESTReadings {
		if bearsLoad(reading) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	name = names[rand.New(rand.NewPCG(s.seed, 0)).IntN(len(names))]
	reading = fakegrid.RESTReadings[name]
	reading.TokenLife = cmp.Or(reading.TokenLife, sessionLife)
	return name, reading
}

// bearsLoad is false for readings in which one lost answer to a Login locks the login out
// for longer than the recovery may take, and for a token that outlives every run.
func bearsLoad(r fakegrid.RESTReading) bool { return r.OpenTokens != 1 && r.TokenLife <= recoveryTime }

// TestNothingIsLostUnderChaos runs load during failures, waits for the recovery, and
// checks the rules.
func TestNothingIsLostUnderChaos(t *testing.T) {
	t.Parallel()
	programs.Need(t)
	set := readSettings(t)
	for range maxShortRuns {
		if conclusive := runChaos(t, set); conclusive {
			return
		}
		set.seed++
	}
	t.Errorf("%d runs ended in a pause of the Logins", maxShortRuns)
}

// runChaos is one run. A short one is not conclusive if it ends in a pause that its failures
// have earned and that is longer than the recovery may take.
func runChaos(t *testing.T, set settings) (conclusive bool) {
	t.Helper()
	name, reading := set.reading()
	var out output
	defer func() { t.Logf("\n%s", out.String()) }()
	fmt.Fprintf(&out, "ECGRID_CHAOS=%s ECGRID_CHAOS_SEED=%d ECGRID_TRANSPORT=%s %s\n", set.duration, set.seed, set.transport, name)

	grid := startGrid(t, fakegrid.Options{
		Limits: fakegrid.Limits{Sessions: 5, SessionIdle: sessionLife, LockAfter: 10},
		Users:  users(), Seed: set.seed, REST: reading, ManyClients: true,
	})
	l := &load{grid: grid, v: startVault(t, mounts...), checker: newChecker(grid), seed: set.seed, maxRootRefused: 1}
	if set.duration >= longRun {
		l.maxRootRefused = 2
	}
	l.prepare(t, set.transport)

	ctx, cancel := context.WithTimeout(t.Context(), set.duration)
	defer cancel()
	grid.SetRates(badRates(set.transport, min(20*time.Second, set.duration/3)))
	var all sync.WaitGroup
	all.Go(func() { l.run(ctx) })
	all.Go(func() { l.disturb(ctx, min(max(set.duration/9, 2*time.Second), 15*time.Second)) })
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
	if l.paused {
		fmt.Fprintln(&out, "Logins are paused for longer than a short run can wait, so its recovery is not checked")
	}
	return !l.paused
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

func (l *load) prepare(t *testing.T, transport string) {
	t.Helper()
	l.v.must(t, http.MethodPost, "ecgrid/config", configFor(l.grid, transport, fields{
		"username": login, "password": firstPassword,
		"ttl": leaseTTL, "max_ttl": "1h", "request_timeout": "3s", "session_idle_timeout": "5s",
	}))
	l.v.must(t, http.MethodPost, "cached/config", configFor(l.grid, transport, fields{
		"api_key": l.grid.Keys(keyID)[0].Value,
		"ttl":     leaseTTL, "max_ttl": "1h", "request_timeout": "3s", "key_cache_ttl": cacheTTL.String(),
	}))
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
	l.deadline = time.Now().Add(recoveryTime)
	l.latest = l.deadline.Add(2 * longestWait) // Logins, and then rotate-root
	l.checkLeases(w)
	began := time.Now()
	l.poll(func() bool { return l.grid.PendingChanges() == 0 })
	for _, s := range sources {
		l.await("a read of "+s.path+" works again", func() bool { return l.read(s) != nil })
	}
	fmt.Fprintf(w, "%-36s %v\n", "all reads work again after", time.Since(began).Round(time.Second))
	l.checkPassword()
	if l.paused {
		return
	}
	l.checkSessions()
	l.deadline = time.Now().Add(recoveryTime)
	l.revokeAll(w)
}

// statedWait is how long the engine says that it must not log in or rotate-root, after
// Logins that failed.
var statedWait = regexp.MustCompile(`(?:logins are paused|wait) for (\S+) more`)

// mayWait extends the deadline if an answer states a wait that the engine's rule allows:
// three Logins that were refused, or got no answer, count for 15 minutes, and one without
// an answer from a minute later. The grid cannot tell which got no answer. A short run does
// not wait: it is paused.
func (l *load) mayWait(r vaulttest.Response) bool {
	stated := statedWait.FindStringSubmatch(strings.Join(r.Errors, " "))
	if stated == nil {
		return false
	}
	wait, err := time.ParseDuration(stated[1])
	until := time.Now().Add(wait + afterWait)
	if l.isShort() {
		l.paused = l.paused || err == nil && wait <= longestWait && until.After(l.deadline)
		return false
	}
	if err != nil || wait > longestWait || until.After(l.latest) {
		return false
	}
	if until.After(l.deadline) {
		l.deadline = until
	}
	return true
}

// poll waits until the condition is met. It returns false at the deadline. It does not wait if
// the run is paused.
func (l *load) poll(met func() bool) bool {
	for !met() {
		late, mayWait := time.Now().After(l.deadline), false
		if late || l.isShort() {
			mayWait = l.mayWait(l.v.do(http.MethodGet, "ecgrid/status", nil))
		}
		switch {
		case l.paused:
			return true
		case late && !mayWait:
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
		l.mayWait(r)
		return r.OK()
	}
	newProcess := func() bool {
		l.killPlugin()
		return l.poll(func() bool { return l.read(sources[0]) != nil })
	}
	l.await("the stored password works", newProcess)
	l.await("rotate-root works again", rotate)
	if !rotate() && !l.paused {
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
	began, live := time.Now(), l.checker.liveLeases()
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
	for _, got := range live {
		l.checker.leaseEnded(got, began)
	}
	irrevocable := l.v.do(http.MethodGet, "sys/leases/count?type=irrevocable", nil)
	if n, _ := irrevocable.Data["lease_count"].(float64); !irrevocable.OK() || n > 0 {
		l.checker.violation("no lease is irrevocable", "%v are, status %d", n, irrevocable.Status)
	}
	began = time.Now()
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
		l.checker.violation("every request conforms to the WSDL or the REST documentation", "%s (%d)", rule, n)
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
