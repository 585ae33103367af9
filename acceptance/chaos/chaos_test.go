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

	"vault-plugin-ecgrid/acceptance/chaos/otherhand"
)

const (
	shortRun = 25 * time.Second
	longRun  = time.Minute // or longer
	// wellAgain is how soon after the last misfortune everything has to work, with
	// no help from an operator.
	wellAgain = 3 * time.Minute

	clock = "15:04:05.000"
)

// bad is what the load meets.
func bad(lateMax time.Duration) otherhand.Rates {
	return otherhand.Rates{
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

// TestNothingIsLostUnderChaos is the whole: load while it is bad, then calm, then
// the rules.
func TestNothingIsLostUnderChaos(t *testing.T) {
	t.Parallel()
	needVault(t)
	duration, seed := settings(t)
	var out output
	defer func() { t.Logf("\n%s", out.String()) }()
	fmt.Fprintf(&out, "ECGRID_CHAOS=%s ECGRID_CHAOS_SEED=%d\n", duration, seed)

	grid, err := otherhand.Start(otherhand.Options{
		Limits: otherhand.Limits{Sessions: 5, SessionIdle: 40 * time.Second, LockAfter: 10},
		Users:  users(), Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(grid.Close)
	v := startVault(t)
	l := &load{grid: grid, v: v, b: newBook(grid), seed: seed, rootBudget: 1}
	if duration >= longRun {
		l.rootBudget = 2
	}
	l.prepare(t)

	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	grid.Set(bad(min(20*time.Second, duration/3)))
	var all sync.WaitGroup
	all.Go(func() { l.run(ctx) })
	all.Go(func() { l.disturb(ctx, min(max(duration/9, 2*time.Second), 15*time.Second)) })
	all.Wait()
	fmt.Fprintf(&out, "%-36s %d\n", "sessions when it ended", len(grid.Open(login)))

	l.wasLoad(t)

	l.calm(&out)
	l.judge(&out)
	l.b.print(&out)
	l.searchSecrets(t, &out)
	for rule, broken := range l.b.violations {
		t.Errorf("not so: %s (%d times). First: %s", rule, len(broken), strings.Join(broken[:min(3, len(broken))], "; "))
	}
}

// output is kept, so that it can be searched too.
type output struct {
	mu sync.Mutex
	strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Builder.Write(p)
}

// wasLoad guards against a run that proves nothing.
func (l *load) wasLoad(t *testing.T) {
	t.Helper()
	const fewest = 30
	met := l.grid.Tally()
	for what, n := range map[string]int{
		"leases": len(l.b.all()), "keys handed out": met["UserGetAPIKey"],
		"misfortunes": met["answered twice"] + met["answer lost"] + met["server fault"] + met["connection silent after"] + met["never done"],
	} {
		if n < min(fewest, 1+len(l.b.all())/20) {
			t.Errorf("the run proves nothing: %d %s", n, what)
		}
	}
}

func (l *load) prepare(t *testing.T) {
	t.Helper()
	l.v.must(t, http.MethodPost, "ecgrid/config", fields{
		"url": l.grid.URL, "ca_cert": string(l.grid.CA), "username": login, "password": firstWord,
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
			t.Fatalf("%s cannot be read while all is well", s.path)
		}
	}
}

// calm ends all misfortunes and sees that everything is well again by itself.
func (l *load) calm(w io.Writer) {
	l.grid.Set(otherhand.Rates{})
	l.until = time.Now().Add(wellAgain + l.paused())
	l.leasesAreThere(w)
	began := time.Now()
	l.soon(func() bool { return l.grid.UnderWay() == 0 })
	for _, s := range sources {
		l.comesRight("a read of "+s.path+" works again", func() bool { return l.read(s) != nil })
	}
	fmt.Fprintf(w, "%-36s %v\n", "all reads work again after", time.Since(began).Round(time.Second))
	l.passwordIsThere()
	l.noSessionIsLeft()
	l.until = time.Now().Add(wellAgain)
	l.leasesEnd(w)
}

// paused is for how long the engine has to keep from ECGrid, since the pace is used
// up. A short run has no room for it, and hardly ever comes to it.
func (l *load) paused() time.Duration {
	refusals := l.grid.Refusals()
	if l.rootBudget == 1 || len(refusals) < pace {
		return 0
	}
	return max(0, paceWindow-time.Since(refusals[len(refusals)-pace].At))
}

// soon polls until it is so, and says whether it was before the time is up.
func (l *load) soon(so func() bool) bool {
	for !so() {
		if time.Now().After(l.until) {
			return false
		}
		time.Sleep(200 * time.Millisecond)
	}
	return true
}

func (l *load) comesRight(what string, so func() bool) {
	if !l.soon(so) {
		l.b.violate(what, "not by %s", l.until.Format(time.TimeOnly))
	}
}

// leasesAreThere looks for every lease that cannot have ended.
func (l *load) leasesAreThere(w io.Writer) {
	lost, there := 0, 0
	for _, got := range l.b.all() {
		if !l.b.live(got, 3*time.Second) {
			continue
		}
		if r := l.v.do(http.MethodPost, "sys/leases/lookup", fields{"lease_id": got.id}); r.ok() {
			there++
		} else if l.b.live(got, time.Second) {
			lost++
			l.b.violate("no lease is lost", "user %d, lookup answered %d", got.user, r.Status)
		}
		l.renew(got)
	}
	fmt.Fprintf(w, "%-36s %d\n%-36s %d\n", "leases there", there, "leases lost", lost)
}

// passwordIsThere proves that the stored password works, by having a new process
// use it, before and after it is changed.
func (l *load) passwordIsThere() {
	rotate := func() bool {
		r := l.v.do(http.MethodPost, "ecgrid/rotate-root", nil)
		l.b.count("rotate-root when calm", r.Status)
		return r.ok()
	}
	newProcess := func() bool {
		_ = l.killPlugin()
		return l.soon(func() bool { return l.read(sources[0]) != nil })
	}
	l.comesRight("the stored password works", newProcess)
	l.comesRight("rotate-root works again", rotate)
	if !rotate() {
		l.b.violate("a second rotate-root works at once", "it did not")
	}
	l.comesRight("the password after rotate-root works", newProcess)
}

// noSessionIsLeft looks right after a kill: what the dead process had open, the
// next one has to end, sooner than ECGrid would.
func (l *load) noSessionIsLeft() {
	deadline := time.Now().Add(5 * time.Second)
	for len(l.grid.Open(login)) > 1 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	open := l.grid.Open(login)
	for _, o := range open {
		if len(open) > 1 {
			l.b.violate("at most one session is open", "opened %s and used %s, now %s", o.At.Format(clock), o.Used.Format(clock), time.Now().Format(clock))
		}
	}
}

// leasesEnd revokes everything that is left.
func (l *load) leasesEnd(w io.Writer) {
	for _, mount := range mounts {
		l.comesRight("all leases can be revoked", func() bool {
			r := l.v.do(http.MethodPut, "sys/leases/revoke-prefix/"+mount, fields{"sync": true})
			l.b.count("revoke-prefix", r.Status)
			return r.ok()
		})
		if r := l.v.do("LIST", "sys/leases/lookup/"+mount, nil); r.Status != http.StatusNotFound {
			l.b.violate("no lease is left", "status %d", r.Status)
		}
	}
	for _, got := range l.b.all() {
		if l.b.live(got, 0) {
			l.b.ended(got)
		}
	}
	irrevocable := l.v.do(http.MethodGet, "sys/leases/count?type=irrevocable", nil)
	if n, _ := irrevocable.Data["lease_count"].(float64); !irrevocable.ok() || n > 0 {
		l.b.violate("no lease is irrevocable", "%v are, status %d", n, irrevocable.Status)
	}
	began := time.Now()
	l.comesRight("every counted key is dead after its last lease", func() bool { return l.b.undead() == 0 })
	fmt.Fprintf(w, "%-36s %v\n", "counted keys dead after", time.Since(began).Round(time.Second))
}

// judge applies the rules that look at the whole run.
func (l *load) judge(w io.Writer) {
	grid := l.grid
	fmt.Fprintf(w, "%-36s %v\n", "slowest counted key died after", l.b.judgeCountedKeys().Round(time.Millisecond))
	l.b.judgeRefusals()
	l.b.judgeFailures()
	for rule, n := range grid.Violations() {
		l.b.violate("every request keeps to the WSDL", "%s (%d)", rule, n)
	}
	l.judgeSchedule()
	spans := grid.Passwords(login)
	for _, line := range []struct {
		what string
		n    int
	}{
		{"logins", grid.Logins()}, {"refused", len(grid.Refusals())}, {"most sessions open at once", grid.MaxOpen(login)},
		{"passwords", len(spans)}, {"protocol violations", len(grid.Violations())},
	} {
		fmt.Fprintf(w, "%-36s %d\n", line.what, line.n)
	}
	for _, r := range grid.Refusals() {
		fmt.Fprintf(w, "  refused at %s: %s; %d sessions that nobody knows of\n", r.At.Format(clock), r.Why, r.Blind)
	}
	for _, s := range spans[1:] {
		fmt.Fprintf(w, "  password changed at %s\n", s.From.Format(clock))
	}
	fmt.Fprintln(w, "-- at ECGrid")
	printSorted(w, grid.Tally())
	fmt.Fprintln(w, "-- at Vault")
}

// judgeSchedule holds what the role says against what was done.
func (l *load) judgeSchedule() {
	for _, s := range sources {
		if s.role["rotation_period"] == nil {
			continue
		}
		r := l.v.do(http.MethodGet, s.at("roles/"+s.roleName()), nil)
		said, _ := r.Data["last_rotation"].(string)
		if said != "" && !l.grid.Keys(s.user)[0].Dead(time.Now()) {
			l.b.violate("a rotation recorded as done was done", "user %d", s.user)
		}
	}
}

// searchSecrets is the last: it needs the whole history, and all that was written.
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
		t.Error("the search proves nothing: there is nothing to search")
	}
	found, size := 0, 0
	for place, said := range written {
		n, before := find.count(said)
		found, size = found+n, size+len(said)
		if n > 0 {
			l.b.violate("no secret is written", "%d in %s, the first after %q", n, place, before)
		}
	}
	fmt.Fprintf(out, "%-36s %d (of %d, in %d KiB)\n", "secrets found", found, len(secrets), size/1024)
}
