package backend

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestTerms(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config   Config
		asked    time.Duration
		ttl, max time.Duration
		warned   bool
	}{
		"the mount's":         {},
		"the config's":        {config: Config{TTL: 60, MaxTTL: 90}, ttl: 60, max: 90},
		"the request's":       {config: Config{TTL: 60, MaxTTL: 90}, asked: 70, ttl: 70, max: 90},
		"cut to the maximum":  {config: Config{TTL: 60, MaxTTL: 90}, asked: 100, ttl: 90, max: 90, warned: true},
		"asked of the mount":  {asked: 100, ttl: 100},
		"maximum without ttl": {config: Config{MaxTTL: 90}, max: 90},
	} {
		got := tt.config.terms(Role{}, tt.asked, time.Now(), 0)
		if got.TTL != tt.ttl || got.MaxTTL != tt.max || (len(got.Warnings) > 0) != tt.warned {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRenewLease(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(f *fakeECGrid)
		want   error // nil: renewed
		warned bool
	}{
		"same key":      {func(*fakeECGrid) {}, nil, false},
		"key replaced":  {func(f *fakeECGrid) { f.setKey(5001, "new") }, ErrKeyReplaced, false},
		"key gone":      {func(f *fakeECGrid) { f.setKey(5001, "") }, ErrNoKey, false},
		"user gone":     {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrNotFound) }, ecgrid.ErrNotFound, false},
		"denied":        {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrAccessDenied) }, ecgrid.ErrAccessDenied, false},
		"unreachable":   {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable) }, nil, true},
		"too slow":      {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrTimeout) }, nil, true},
		"nonsense":      {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrBadAnswer) }, nil, true},
		"server fault":  {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrServerFault) }, nil, true},
		"login refused": {func(f *fakeECGrid) { f.killSessions(); f.set(func() { f.password = "x" }) }, nil, true},
		"denied, session in doubt": {func(f *fakeECGrid) {
			f.failWith("UserGetAPIKey", ecgrid.ErrAccessDenied)
			f.failWith("WhoAmI", ecgrid.ErrTimeout)
		}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, _ := configured(t, f, func(c *Config) { c.TTL, c.MaxTTL = time.Hour, 2*time.Hour })
				issued, err := e.IssueKey(t.Context(), 5001, 30*time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				tt.change(f)
				terms, err := e.RenewLease(t.Context(), issued.Lease, Renewal{Issued: time.Now(), Was: issued.Terms})
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if (len(terms.Warnings) > 0) != tt.warned {
					t.Errorf("warnings %v", terms.Warnings)
				}
				if tt.want == nil && (terms.TTL != 30*time.Minute || terms.MaxTTL != 2*time.Hour) {
					t.Errorf("renewed for %s of %s", terms.TTL, terms.MaxTTL)
				}
				if err := e.RevokeLease(t.Context(), issued.Lease); err != nil {
					t.Errorf("revoke: %v", err)
				}
				f.failWith("Login", nil)
				e.Close()
			})
		})
	}
}

func TestRenewWithoutConfig(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f)
		issued, err := e.IssueKey(t.Context(), 5001, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.DeleteConfig(t.Context(), noManager{}); err != nil {
			t.Fatal(err)
		}
		was := Terms{TTL: 30 * time.Second, MaxTTL: 5 * time.Minute}
		terms, err := e.RenewLease(t.Context(), issued.Lease, Renewal{Issued: time.Now(), Was: was})
		if err != nil || len(terms.Warnings) == 0 || terms.TTL != was.TTL || terms.MaxTTL != was.MaxTTL {
			t.Errorf("renewed for %s of %s, %v", terms.TTL, terms.MaxTTL, err)
		}
		if err := e.RevokeLease(t.Context(), issued.Lease); err != nil {
			t.Errorf("revoke: %v", err)
		}
	})
}

// The lease tells keys apart, survives a restart, and does not hold the key.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		first, err := e.IssueKey(t.Context(), 5001, 0)
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		second, err := testEngine(f, storage).IssueKey(t.Context(), 5001, 0)
		if err != nil {
			t.Fatal(err)
		}
		if first.Lease.Fingerprint != second.Lease.Fingerprint || first.Lease.ID == second.Lease.ID {
			t.Error("the same key has two fingerprints, or two leases one ID")
		}
		if strings.Contains(first.Lease.Fingerprint, first.APIKey) {
			t.Error("the fingerprint shows the key")
		}
		other, _ := configured(t, f)
		third, err := other.IssueKey(t.Context(), 5001, 0)
		if err != nil {
			t.Fatal(err)
		}
		if third.Lease.Fingerprint == first.Lease.Fingerprint {
			t.Error("two mounts give one key the same fingerprint")
		}
		other.Close()
		time.Sleep(2 * time.Minute)
	})
}

// Every sentinel has a status and says more than its name.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		Invalid("x"):             http.StatusBadRequest,
		ErrNotConfigured:         http.StatusBadRequest,
		session.ErrRefused:       http.StatusBadRequest,
		session.ErrPaused:        http.StatusServiceUnavailable,
		ErrKeyReplaced:           http.StatusBadRequest,
		ErrNoKey:                 http.StatusNotFound,
		ErrClosed:                http.StatusServiceUnavailable,
		ecgrid.ErrAccessDenied:   http.StatusForbidden,
		ecgrid.ErrAuthentication: http.StatusForbidden,
		ecgrid.ErrNotFound:       http.StatusNotFound,
		ecgrid.ErrTimeout:        http.StatusGatewayTimeout,
		ecgrid.ErrUnreachable:    http.StatusServiceUnavailable,
		ecgrid.ErrBadAnswer:      http.StatusBadGateway,
		ecgrid.ErrServerFault:    http.StatusBadGateway,
		ecgrid.ErrFault:          http.StatusBadGateway,
		ecgrid.ErrEmptyResult:    http.StatusBadGateway,
		ecgrid.ErrSessionExpired: http.StatusBadGateway,
	} {
		wrapped := opError("UserGetAPIKey", err)
		if status, message, ok := Describe(wrapped); status != want || !ok || message == "" {
			t.Errorf("%v: %d %v", err, status, ok)
		}
	}
	if _, _, ok := Describe(errAny); ok {
		t.Error("an unknown failure was given a meaning")
	}
}
