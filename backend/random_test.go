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
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// TestRandomly does much at once, in an order that a seed decides: leases of several
// roles come and go, keys and the password are replaced from all sides, ECGrid makes
// changes late, ECGrid and storage fail before and after the fact, clients hang up,
// the config is written, the mount is moved, processes are killed or step down. What
// must hold:
//
//   - the password that ECGrid has is one that is stored, at any time;
//   - ECGrid refuses 3 logins at the most in any 15 minutes, those left out that an
//     operator has just brought;
//   - a process has one session at the most, two while a written credential is tried,
//     and in the end there is none but those whose Login was lost;
//   - a revoke ends no key with another counted lease out;
//   - a revoke ends no key that was never leased so, which is what a second
//     GenerateAPIKey for one end of a key would do;
//   - in the end, every key that was leased so is dead, and nothing is counted.
//
// ECGRID_SEED runs that seed alone, ECGRID_SEEDS so many, ECGRID_RANDOMLY=10m for so long.
func TestRandomly(t *testing.T) {
	t.Parallel()
	first, n := 1, 200
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEEDS")); err == nil {
		n = s
	}
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEED")); err == nil {
		first, n = s, 1
	}
	if long, err := time.ParseDuration(os.Getenv("ECGRID_RANDOMLY")); err == nil {
		randomlyFor(t, first, long)
		return
	}
	for seed := first; seed < first+n; seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			liveRandomly(t, seed)
		})
	}
}

// randomlyFor goes on for so long, one seed after the other on each processor.
func randomlyFor(t *testing.T, first int, long time.Duration) {
	var next atomic.Int64
	next.Store(int64(first))
	until := time.Now().Add(long)
	t.Run("for "+long.String(), func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for time.Now().Before(until) && !t.Failed() {
					liveRandomly(t, int(next.Add(1)-1))
				}
			})
		}
	})
	t.Logf("seeds %d to %d", first, next.Load()-1)
}

func liveRandomly(t *testing.T, seed int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uint64(seed))
		w.live(80)
		w.end()
		if t.Failed() {
			t.Logf("again with ECGRID_SEED=%d; %s", seed, strings.Join(w.log, ", "))
		}
	})
}

// world is Vault, ECGrid and the processes of one mount.
type world struct {
	*testing.T
	f      *fakeECGrid
	raw    logical.Storage
	hashes *Engine    // for fingerprints
	plan   *rand.Rand // what is done next
	ops    sync.WaitGroup

	mu     sync.Mutex
	luck   *rand.Rand // what becomes of it
	storm  bool
	leases []*vaultLease
	leased map[string]bool // fingerprints of all keys that were ever counted
	now    *life
	lives  []*life
	log    []string
	lost   map[string]bool // sessions that were never noted
	// unwritten: the password was changed at ECGrid's own site, and nobody has written
	// that to config yet.
	unwritten bool
	outside   string // what it was changed to
}

// vaultLease is what Vault has of a counted lease.
type vaultLease struct {
	Issued
	at, end time.Time
	ended   bool // Vault is about to revoke it, again and again
	busy    bool
	revoked bool
}

func (l *vaultLease) out() bool { return !l.ended && !time.Now().After(l.end) }

// runsUntil is Vault's own reckoning of a lease's end.
func runsUntil(issued time.Time, terms Terms) time.Time {
	end := time.Now().Add(cmp.Or(terms.TTL, 768*time.Hour))
	if last := issued.Add(terms.MaxTTL); terms.MaxTTL > 0 && last.Before(end) {
		return last
	}
	return end
}

// life is one process, from its start to when it is killed.
type life struct {
	*Engine
	*process
	dead, buried chan struct{}
	demoted      chan struct{}
	rotating     map[int32]int // by request or schedule, not by a revoke
	ticking      bool
	open         map[string]bool // sessions that it has, and has not begun to log out
	trying       int             // writes that bring a credential
}

// asLife has ECGrid know which process replaces a key, and which sessions it has.
type asLife struct {
	*fakeECGrid
	w    *world
	life *life
}

func (a asLife) Login(ctx context.Context, name, password string) (string, error) {
	a.w.mu.Lock()
	operators := a.life.trying > 0 && password == a.w.outside
	a.w.mu.Unlock()
	id, err := a.fakeECGrid.Login(context.WithValue(ctx, operatorsKey{}, operators), name, password)
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if err != nil {
		return id, err
	}
	a.w.lost[id] = true // until it is noted
	return id, nil
}

// learns that the process has a session now.
func (w *world) learns(l *life, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.open[id] = true
	w.log = append(w.log, fmt.Sprintf("%s in %s (%d)", time.Now().Format("02 15:04:05.000"), id, len(l.open)))
	if most := 1 + l.trying; len(l.open) > most {
		w.Errorf("%d sessions at once, %d writes under way", len(l.open), l.trying)
	}
}

// knowing is the client of a process.
type knowing struct {
	ecgrid.Client
	w    *world
	life *life
}

func (k knowing) Login(ctx context.Context, name, password string) (string, error) {
	id, err := k.Client.Login(ctx, name, password)
	if err == nil && !k.life.isDead() {
		k.w.learns(k.life, id)
	}
	return id, err
}

func (a asLife) GenerateAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	return a.fakeECGrid.GenerateAPIKey(context.WithValue(ctx, lifeKey{}, a.life), id, userID)
}

type lifeKey struct{}

// noting sees which keys are counted, and which sessions are noted.
type noting struct {
	logical.Storage
	note func(*logical.StorageEntry)
}

func (n noting) Put(ctx context.Context, entry *logical.StorageEntry) error {
	n.note(entry)
	return n.Storage.Put(ctx, entry)
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, f: newFake(), leased: map[string]bool{}, lost: map[string]bool{},
		plan: rand.New(rand.NewPCG(seed, 1)), luck: rand.New(rand.NewPCG(seed, 2)),
	}
	w.f.cap = 1000 // the killed leave theirs behind
	w.f.replacing = w.replacing
	e, raw := configured(t, w.f, func(c *Config) { c.KeyCacheTTL = time.Minute })
	w.hashes, w.raw = e, noting{raw, w.note}
	for name, patch := range map[string]RolePatch{
		"a": {UserID: ptr(int32(5001))}, "b": {UserID: ptr(int32(5001))}, "c": {UserID: ptr(int32(5002))},
		"s": {UserID: ptr(int32(5002)), Schedule: SchedulePatch{Period: ptr(2 * time.Hour)}},
	} {
		patch.RotateOnRevoke = ptr(true)
		writeRole(t, e, raw, name, patch)
	}
	w.start()
	return w
}

func (w *world) note(entry *logical.StorageEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	parts := strings.Split(entry.Key, "/")
	switch {
	case len(parts) == 4 && parts[0]+"/" == holderPrefix:
		w.leased[parts[2]] = true
	case parts[0]+"/" == sessionPrefix:
		var n session.Note
		if err := entry.DecodeJSON(&n); err != nil {
			w.Error(err)
		}
		delete(w.lost, n.SessionID)
	}
}

func (w *world) fingerprint(key string) string {
	fingerprint, err := w.hashes.store.fingerprint(context.Background(), key)
	if err != nil {
		w.Error(err)
	}
	return strings.TrimPrefix(fingerprint, "hmac-sha256:")
}

func (k knowing) Logout(ctx context.Context, id string) error {
	k.w.mu.Lock()
	delete(k.life.open, id)
	k.w.mu.Unlock()
	return k.Client.Logout(ctx, id)
}

// start begins a life; what the last one sent has arrived by then.
func (w *world) start() {
	l := &life{dead: make(chan struct{}), buried: make(chan struct{}), demoted: make(chan struct{}), rotating: map[int32]int{}, open: map[string]bool{}}
	l.process = &process{Storage: w.raw, Client: asLife{w.f, w, l}, at: func(s step) error { return w.step(l, s) }}
	l.Engine = testEngineAt(w.f, l.process, func(ecgrid.Endpoint) (ecgrid.Client, error) { return knowing{l.process, w, l}, nil })
	l.Start()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = l
	w.lives = append(w.lives, l)
}

// isDemoted tells that the node is not the active one any more: what its process
// still writes is refused, and nobody hears its answers.
func (l *life) isDemoted() bool {
	select {
	case <-l.demoted:
		return true
	default:
		return false
	}
}

// step is what becomes of a step: time goes by, and in a storm it may break.
func (w *world) step(l *life, s step) error {
	w.mu.Lock()
	latency := time.Duration(w.luck.IntN(20e6))
	broken := w.storm && w.luck.IntN(12) == 0
	kind := inDoubt[w.luck.IntN(len(inDoubt))]
	switch {
	case (s.op == "Login" || s.op == "Logout") && kind == ecgrid.ErrFault:
		kind = ecgrid.ErrTimeout // it would be a refusal
	case s.op == "Login" && s.done && kind == ecgrid.ErrServerFault:
		kind = ecgrid.ErrTimeout // a refusal is not called a server fault, see API.md
	}
	w.mu.Unlock()
	if s.op != "Get" {
		time.Sleep(latency)
	}
	select {
	case <-l.dead:
		<-l.buried
		return errKilled
	default:
	}
	switch {
	case l.isDemoted() && (s.op == "Put" || s.op == "Delete"):
		return errAny
	case broken && s.op == "UserGetAPIKey":
		return opError(s.op, inDoubt[0]) // an empty result is a user without a key
	case broken && s.ecgrid:
		return opError(s.op, kind)
	case broken:
		return errAny
	}
	return nil
}

// replacing is the moment when a key is replaced. Holds the fake's lock.
func (w *world) replacing(ctx context.Context, userID int32, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, ok := ctx.Value(lifeKey{}).(*life); !ok || l.rotating[userID] > 0 {
		return
	}
	// Between the look and the order another may land that was sent before.
	if !w.leased[w.fingerprint(key)] && !w.f.landed[key] {
		w.Errorf("a revoke replaced %s, which was never leased", key)
	}
	for _, l := range w.leases {
		if l.APIKey == key && l.out() {
			w.Errorf("a revoke replaced %s with lease %s out", key, l.Lease.ID[:4])
		}
	}
	w.log = append(w.log, time.Now().Format("02 15:04:05.000")+" ended "+key)
}

// live does n things.
func (w *world) live(n int) {
	for i := range n {
		if i%20 == 0 {
			w.mu.Lock()
			w.storm = w.plan.IntN(2) == 0
			w.mu.Unlock()
		}
		time.Sleep(time.Duration(w.plan.IntN(120e6)))
		w.passwordIsStored()
		switch w.plan.IntN(34) {
		case 0:
			w.kill()
		case 1:
			w.do("rotate-key", w.rotateKey(pickOf(w, []int32{5001, 5002})))
		case 2:
			w.do("rotate-role", w.rotateRole(pickOf(w, []string{"a", "s"})))
		case 3, 4:
			w.do("tick", w.tick())
		case 5:
			time.Sleep(5 * time.Second) // ECGrid cannot be asked to replace that key only
			w.f.setKey(5001, fmt.Sprintf("outside-%d", i))
		case 6:
			time.Sleep(time.Duration(w.plan.IntN(90)) * time.Minute)
		case 7, 8, 9, 10, 11, 12, 13, 14:
			w.do("issue", w.issue(pickOf(w, []string{"a", "b", "c", "s"}), w.plan.IntN(8) == 0))
		case 15, 16:
			w.do("renew", w.renew())
		case 24, 25:
			w.do("rotate-root", func(l *life) { w.hangUpOrNot(func(ctx context.Context) { _, _ = l.RotateRoot(ctx) }) })
		case 26, 27:
			w.landLate()
		case 28:
			w.do("config", func(l *life) {
				_ = l.WriteConfig(context.Background(), ConfigPatch{TTL: ptr(time.Duration(i) * time.Minute)}, noManager{})
			})
		case 29:
			w.do("typo", w.write(fmt.Sprintf("%s-%d", operatorsTypo, i%3)))
		case 30:
			w.changeOutside(fmt.Sprintf("outside-%d", i))
		case 31:
			w.do("move", w.move())
		case 32:
			w.mu.Lock()
			clear(w.lost)
			w.mu.Unlock()
			w.f.killSessions()
		case 33:
			w.stepDown()
		default:
			w.do("revoke", w.revokeOne(w.plan.IntN(3) > 0))
		}
	}
}

func pickOf[T any](w *world, all []T) T { return all[w.plan.IntN(len(all))] }

func (w *world) do(name string, op func(l *life)) {
	if op == nil {
		return
	}
	w.mu.Lock()
	l := w.now
	w.log = append(w.log, name)
	w.mu.Unlock()
	w.ops.Go(func() { op(l) })
}

func (l *life) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return l.isDemoted()
	}
}

// kill ends the process where it stands. Vault starts another.
func (w *world) kill() {
	w.mu.Lock()
	close(w.now.dead)
	for _, l := range w.leases {
		l.busy = false
	}
	w.log = append(w.log, "kill")
	w.mu.Unlock()
	time.Sleep(time.Second)
	w.start()
}

func (w *world) issue(role string, hangUp bool) func(*life) {
	return func(l *life) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if hangUp {
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
		}
		issued, err := l.IssueCreds(ctx, role, 0)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && !l.isDead() {
			w.leases = append(w.leases, &vaultLease{Issued: issued, at: time.Now(), end: runsUntil(time.Now(), issued.Terms)})
			w.log = append(w.log, fmt.Sprintf("%s issued %s of %s ttl %s max %s", time.Now().Format("02 15:04:05.000"), issued.Lease.ID[:4], issued.APIKey, issued.Terms.TTL, issued.Terms.MaxTTL))
		}
	}
}

// choose gives a lease that is out, or one that Vault could not revoke yet.
func (w *world) choose(ended bool) *vaultLease {
	w.mu.Lock()
	defer w.mu.Unlock()
	var fit []*vaultLease
	for _, l := range w.leases {
		if l.ended == ended && !l.revoked && !l.busy {
			fit = append(fit, l)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[w.luck.IntN(len(fit))]
}

func (w *world) renew() func(*life) {
	lease := w.choose(false)
	if lease == nil {
		return nil
	}
	return func(l *life) {
		terms, err := l.RenewLease(context.Background(), lease.Lease, Renewal{Issued: lease.at, Was: lease.Terms})
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && !l.isDead() && lease.out() {
			lease.end = runsUntil(lease.at, terms)
		}
	}
}

func (w *world) revokeOne(again bool) func(*life) {
	lease := w.choose(!again)
	if lease == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lease.ended, lease.busy = true, true
	return func(l *life) {
		w.mu.Lock()
		lease.busy = !l.isDead() // a move goes on when its process does not
		w.mu.Unlock()
		err := l.RevokeLease(context.Background(), lease.Lease)
		w.mu.Lock()
		defer w.mu.Unlock()
		lease.busy = false
		if l.isDead() {
			return // Vault never heard
		}
		lease.revoked = err == nil
		w.log = append(w.log, fmt.Sprintf("%s revoked %s: %v", time.Now().Format("02 15:04:05.000"), lease.Lease.ID[:4], err))
	}
}

// hangUpOrNot gives do a client that may hang up.
func (w *world) hangUpOrNot(do func(ctx context.Context)) {
	w.mu.Lock()
	hangUp, after := w.luck.IntN(3) == 0, time.Duration(w.luck.IntN(100e6))
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if hangUp {
		ctx, cancel = context.WithTimeout(ctx, after)
		defer cancel()
	}
	do(ctx)
}

// landLate has the next change land late.
func (w *world) landLate() {
	late := time.Duration(w.plan.IntN(60e9))
	w.f.set(func() { w.f.late = append(w.f.late, late) })
}

// passwordIsStored is the first of what must hold.
func (w *world) passwordIsStored() {
	c := storedConfig(w.T, w.raw)
	password := w.f.passwordOfNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.unwritten && password != c.Password && !slices.Contains(c.pendingPasswords(), password) {
		w.Errorf("the password that ECGrid has is not stored")
		w.unwritten = true // once is enough
	}
}

// write is an operator's write of a password.
func (w *world) write(password string) func(*life) {
	return func(l *life) {
		w.try(l, 1)
		defer w.try(l, -1)
		err := l.WriteConfig(context.Background(), ConfigPatch{Password: &password}, noManager{})
		w.mu.Lock()
		defer w.mu.Unlock()
		w.log = append(w.log, fmt.Sprintf("%s wrote %s: %v", time.Now().Format("02 15:04:05.000"), password, err))
		if err == nil && !l.isDead() {
			w.unwritten = false
		}
	}
}

func (w *world) try(l *life, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.trying += n
}

// changeOutside is somebody who changes the password at ECGrid's own site, when
// nothing is under way, and then writes it to config.
func (w *world) changeOutside(password string) {
	time.Sleep(20 * time.Minute)
	if storedConfig(w.T, w.raw).unresolved() != nil || w.isUnwritten() {
		return
	}
	w.mu.Lock()
	w.unwritten, w.outside = true, password
	w.mu.Unlock()
	w.f.set(func() { w.f.password, w.f.late = password, nil })
	w.do("operator", func(l *life) {
		for range 40 {
			w.write(password)(l)
			if !w.isUnwritten() {
				return
			}
			time.Sleep(time.Minute)
			w.mu.Lock()
			l = w.now
			w.mu.Unlock()
		}
	})
	time.Sleep(3 * time.Minute)
}

// move is `+"`secrets move`"+`: the leases are revoked, a round is run, and the mount lives on.
func (w *world) move() func(*life) {
	w.f.tainted.Store(true)
	time.Sleep(2 * time.Minute) // what was under way has ended
	return func(l *life) {
		defer w.f.tainted.Store(false)
		for range 5 {
			if revoke := w.revokeOne(false); revoke != nil {
				revoke(l)
			}
		}
		w.tick()(l)
	}
}

func (w *world) isUnwritten() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unwritten
}

// stepDown ends the process in good order. Vault starts another.
func (w *world) stepDown() {
	w.mu.Lock()
	old := w.now
	close(old.demoted)
	for _, l := range w.leases {
		l.busy = false
	}
	w.log = append(w.log, "step down")
	w.mu.Unlock()
	go old.Close()
	w.start()
}

// rotated marks a replacement that is no revoke's.
func (w *world) rotated(l *life, userID int32, do func()) {
	count := func(n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		l.rotating[userID] += n
	}
	count(1)
	do()
	count(-1)
}

func (w *world) rotateKey(userID int32) func(*life) {
	return func(l *life) {
		w.rotated(l, userID, func() { _, _ = l.RotateKey(context.Background(), userID) })
	}
}

func (w *world) rotateRole(name string) func(*life) {
	return func(l *life) {
		w.rotated(l, map[string]int32{"a": 5001, "s": 5002}[name], func() { _, _ = l.RotateRole(context.Background(), name) })
	}
}

// tick is a round; there is never more than one.
func (w *world) tick() func(*life) {
	return func(l *life) {
		w.mu.Lock()
		busy := l.ticking
		l.ticking = true
		w.mu.Unlock()
		if busy {
			return
		}
		w.rotated(l, 5002, func() {
			l.Tick(context.Background())
			for l.inRound.Load() { // it may go on when Vault waits no more
				time.Sleep(5 * time.Minute)
			}
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		l.ticking = false
	}
}

// end lets all come to rest: Vault revokes what is out.
func (w *world) end() {
	w.mu.Lock()
	w.storm = false
	w.mu.Unlock()
	w.f.set(func() { w.f.late = nil })
	w.f.tainted.Store(false)
	for range 40 { // Vault goes on as ever
		time.Sleep(time.Minute)
		w.do("tick", w.tick())
	}
	if w.unwritten {
		w.write(w.outside)(w.now)
	}
	w.mu.Lock()
	leases := slices.Clone(w.leases)
	for _, l := range leases {
		if l.busy {
			w.Error("a revoke never came back")
		}
		l.ended = true
	}
	w.mu.Unlock()
	for _, l := range leases {
		if err := w.now.RevokeLease(context.Background(), l.Lease); err != nil {
			w.Errorf("revoke: %v", err)
		}
	}
	time.Sleep(w.now.MaxLeaseTTL() + holderGrace)
	for range 20 { // ends what nobody got
		w.tick()(w.now)
		time.Sleep(time.Minute)
	}
	if n := counted(w.T, w.raw); n != 0 {
		w.Errorf("%d leases are still counted", n)
	}
	for _, l := range leases {
		if w.f.key(l.Lease.UserID) == l.APIKey {
			w.Errorf("%s outlives its leases", l.APIKey)
		}
	}
	for _, l := range slices.Backward(w.lives) {
		close(l.buried)
	}
	w.ops.Wait()
	w.start() // what could not be logged out, the next process does
	if _, err := w.now.IssueKey(context.Background(), 5001, 0); err != nil {
		w.Errorf("the last read: %v", err)
	}
	for _, l := range w.lives {
		l.Close()
	}
	time.Sleep(2 * time.Minute) // what is written about Logins that nobody waits for
	w.passwordIsStored()
	if n := w.f.refusedIn(15 * time.Minute); n > 3 {
		w.Errorf("%d refused logins in 15 minutes", n)
	}
	if n := w.f.openSessions(); n > len(w.lost) {
		w.Errorf("%d sessions are left, %d of them were lost", n, len(w.lost))
	}
}
