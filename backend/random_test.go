package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// TestRandomly does much at once, in an order that a seed decides: leases of several
// roles come and go, keys are replaced from all sides, ECGrid and storage fail
// before and after the fact, clients hang up, processes are killed. What must hold:
//
//   - a revoke ends no key with another counted lease out;
//   - a revoke ends no key that was never leased so, which is what a second
//     GenerateAPIKey for one end of a key would do;
//   - in the end, every key that was leased so is dead, and nothing is counted.
//
// ECGRID_SEED runs that seed alone, ECGRID_SEEDS so many.
func TestRandomly(t *testing.T) {
	t.Parallel()
	first, n := 1, 200
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEEDS")); err == nil {
		n = s
	}
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEED")); err == nil {
		first, n = s, 1
	}
	for seed := first; seed < first+n; seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(seed))
				w.live(80)
				w.end()
				if t.Failed() {
					t.Logf("again with ECGRID_SEED=%d; %s", seed, strings.Join(w.log, ", "))
				}
			})
		})
	}
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
}

// vaultLease is what Vault has of a counted lease.
type vaultLease struct {
	Issued
	at      time.Time
	ended   bool // Vault is about to revoke it, again and again
	busy    bool
	revoked bool
}

func (l *vaultLease) out() bool {
	end := time.Now()
	if l.Terms.MaxTTL > 0 {
		end = l.at.Add(l.Terms.MaxTTL)
	}
	return !l.ended && !time.Now().After(end)
}

// life is one process, from its start to when it is killed.
type life struct {
	*Engine
	*process
	dead, buried chan struct{}
	rotating     map[int32]int // by request or schedule, not by a revoke
	ticking      bool
}

// asLife has ECGrid know which process replaces a key.
type asLife struct {
	*fakeECGrid
	life *life
}

func (a asLife) GenerateAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	return a.fakeECGrid.GenerateAPIKey(context.WithValue(ctx, lifeKey{}, a.life), id, userID)
}

type lifeKey struct{}

// noting sees which keys are counted.
type noting struct {
	logical.Storage
	note func(path string)
}

func (n noting) Put(ctx context.Context, entry *logical.StorageEntry) error {
	n.note(entry.Key)
	return n.Storage.Put(ctx, entry)
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, f: newFake(), leased: map[string]bool{},
		plan: rand.New(rand.NewPCG(seed, 1)), luck: rand.New(rand.NewPCG(seed, 2)),
	}
	w.f.cap = 1000 // the killed leave theirs behind
	w.f.replacing = w.replacing
	e, raw := configured(t, w.f, func(c *Config) { c.KeyCacheTTL = time.Minute })
	w.hashes, w.raw = e, noting{raw, w.note}
	salted(t, e, raw)
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

func (w *world) note(path string) {
	if parts := strings.Split(path, "/"); len(parts) == 4 && parts[0]+"/" == leaseStoragePrefix {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.leased[parts[2]] = true
	}
}

func (w *world) fingerprint(key string) string {
	fingerprint, err := w.hashes.fingerprint(context.Background(), w.raw, key)
	if err != nil {
		w.Error(err)
	}
	return strings.TrimPrefix(fingerprint, "hmac-sha256:")
}

// start begins a life; what the last one sent has arrived by then.
func (w *world) start() {
	l := &life{dead: make(chan struct{}), buried: make(chan struct{}), rotating: map[int32]int{}}
	l.Engine, l.process = start(w.f, w.raw, func(s step) error { return w.step(l, s) })
	l.Client = asLife{w.f, l}
	salted(w.T, l.Engine, w.raw)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = l
	w.lives = append(w.lives, l)
}

// step is what becomes of a step: time goes by, and in a storm it may break.
func (w *world) step(l *life, s step) error {
	w.mu.Lock()
	latency := time.Duration(w.luck.IntN(20e6))
	broken := w.storm && w.luck.IntN(12) == 0
	kind := inDoubt[w.luck.IntN(len(inDoubt)-1)] // but ErrFault: it would be a refused login
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
	if !w.leased[w.fingerprint(key)] {
		w.Errorf("a revoke replaced %s, which was never leased", key)
	}
	for _, l := range w.leases {
		if l.APIKey == key && l.out() {
			w.Errorf("a revoke replaced %s with lease %s out", key, l.Lease.ID[:4])
		}
	}
	w.log = append(w.log, "ended "+key)
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
		switch w.plan.IntN(24) {
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
		return false
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
		issued, err := l.IssueCreds(ctx, l.process, role, 0)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && !l.isDead() {
			w.leases = append(w.leases, &vaultLease{Issued: issued, at: time.Now()})
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
	return fit[w.plan.IntN(len(fit))]
}

func (w *world) renew() func(*life) {
	lease := w.choose(false)
	if lease == nil {
		return nil
	}
	return func(l *life) {
		_, _ = l.RenewLease(context.Background(), l.process, lease.Lease, lease.at, lease.Terms)
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
		err := l.RevokeLease(context.Background(), l.process, lease.Lease)
		w.mu.Lock()
		defer w.mu.Unlock()
		if l.isDead() {
			return // Vault never heard
		}
		lease.busy, lease.revoked = false, err == nil
	}
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
		w.rotated(l, userID, func() { _, _ = l.RotateKey(context.Background(), l.process, userID) })
	}
}

func (w *world) rotateRole(name string) func(*life) {
	return func(l *life) {
		w.rotated(l, map[string]int32{"a": 5001, "s": 5002}[name], func() { _, _ = l.RotateRole(context.Background(), l.process, name) })
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
		w.rotated(l, 5002, func() { l.Tick(context.Background(), l.process) })
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
	time.Sleep(10 * time.Minute)
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
		if err := w.now.RevokeLease(context.Background(), w.now.process, l.Lease); err != nil {
			w.Errorf("revoke: %v", err)
		}
	}
	time.Sleep(w.now.MaxLeaseTTL() + reapGrace)
	w.tick()(w.now) // ends what nobody got
	if n := counted(w.T, w.raw); n != 0 {
		w.Errorf("%d leases are still counted", n)
	}
	for _, l := range leases {
		if w.f.key(l.Lease.UserID) == l.APIKey {
			w.Errorf("%s outlives its leases", l.APIKey)
		}
	}
	for _, l := range slices.Backward(w.lives) {
		if l.isDead() {
			close(l.buried)
		}
	}
	w.ops.Wait()
	for _, l := range w.lives {
		l.Close()
	}
}
