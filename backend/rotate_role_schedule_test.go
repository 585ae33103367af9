// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// isAbout reports whether d is at most 2 s below want: a call takes time, and TTLs are
// cut to whole seconds.
func isAbout(d, want time.Duration) bool { return d <= want && d >= want-2*time.Second }

// scheduled is a mount with role a, which rotates by a schedule.
type scheduled struct {
	*testing.T
	f       *fakeECGrid
	e       *Engine
	storage *logical.InmemStorage
}

func (s scheduled) tick(d time.Duration) { tickFor(s.T, s.e, d) }

func (s scheduled) rotation() Rotation { return readRole(s.T, s.e, "a").Rotation }

func (s scheduled) wantChanges(want int) {
	s.Helper()
	checkChanges(s.T, s.f, want)
}

// wantRecorded checks that the last rotation is recorded as a success.
func (s scheduled) wantRecorded() {
	s.Helper()
	if r := s.rotation(); r.Last.IsZero() || r.LastError != "" || r.Failures != 0 {
		s.Errorf("the rotation is not recorded as a success: %+v", r)
	}
}

// wantFailed checks that a failure is recorded, and no rotation.
func (s scheduled) wantFailed() {
	s.Helper()
	if r := s.rotation(); !r.Last.IsZero() || r.LastError == "" {
		s.Errorf("the rotation is not recorded as failed: %+v", r)
	}
}

func (s scheduled) wantNoRole() {
	s.Helper()
	wantErr(s.T, errOf(s.e.ReadRole(s.Context(), "a")), ErrRoleNotFound)
}

// When and how often the key of a role is replaced, and what is recorded.
func TestScheduledRoleRotation(t *testing.T) {
	t.Parallel()
	hourly := SchedulePatch{Period: ptr(time.Hour)}
	nightly := SchedulePatch{Cron: ptr("0 3 * * *"), Window: ptr(time.Hour)}
	for name, tt := range map[string]struct {
		schedule SchedulePatch
		do       func(s scheduled)
	}{
		"every hour": {hourly, func(s scheduled) {
			s.tick(59 * time.Minute)
			s.wantChanges(0)
			s.tick(5 * time.Minute)
			s.wantChanges(1)
			if r := s.rotation(); time.Since(r.Last) > 5*time.Minute || !r.Next.Equal(r.Last.Add(time.Hour)) || r.NotBefore.Before(r.Next) {
				s.Errorf("wrong times: %+v", r)
			}
		}},
		"late rotation, once": {hourly, func(s scheduled) {
			time.Sleep(100 * time.Hour)
			s.tick(30 * time.Minute)
			s.wantChanges(1)
		}},
		"missed window": {nightly, func(s scheduled) {
			time.Sleep(4 * time.Hour)
			s.tick(22 * time.Hour)
			s.wantChanges(0)
			if next, want := s.rotation().Next, clock(3, 0, 0).AddDate(0, 0, 1); !next.Equal(want) {
				s.Errorf("the next rotation is at %s, want %s", next, want)
			}
			s.tick(2 * time.Hour)
			s.wantChanges(1)
		}},
		"fails during its window": {nightly, func(s scheduled) {
			s.f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			s.tick(5 * time.Hour)
			s.f.failWith("GenerateAPIKey", nil)
			s.tick(20 * time.Hour)
			s.wantChanges(0)
			s.wantFailed()
			s.tick(4 * time.Hour)
			s.wantChanges(1)
		}},
		"backoff": {hourly, func(s scheduled) {
			s.f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			s.tick(7 * time.Hour)
			if n := s.f.now().calls["GenerateAPIKey"]; n < 8 || n > 13 {
				s.Errorf("%d tries in six hours, want 8 to 13", n)
			}
			s.wantFailed()
			s.f.failWith("GenerateAPIKey", nil)
			s.tick(time.Hour + time.Minute)
			s.wantChanges(1)
			s.wantRecorded()
		}},
		"rotate-role before it is due": {hourly, func(s scheduled) {
			time.Sleep(50 * time.Minute)
			check(s.T, errOf(s.e.RotateRole(s.Context(), "a")))
			s.tick(55 * time.Minute)
			s.wantChanges(1)
		}},
		"rotate-role while it is due": {hourly, func(s scheduled) {
			time.Sleep(70 * time.Minute)
			s.f.on("GenerateAPIKey", func() { time.Sleep(time.Second) })
			concurrently(2, func(i int) {
				if i == 0 {
					check(s.T, errOf(s.e.RotateRole(s.Context(), "a")))
					return
				}
				time.Sleep(500 * time.Millisecond)
				s.e.Tick(s.Context())
			})
			s.wantChanges(1)
			s.wantRecorded()
		}},
		"answer lost": {hourly, func(s scheduled) {
			s.f.set(func() { s.f.lost["GenerateAPIKey"] = ecgrid.ErrTimeout })
			s.tick(100 * time.Minute)
			s.wantChanges(1)
			s.wantRecorded()
		}},
		"answer lost, then ECGrid down": {hourly, func(s scheduled) {
			s.f.set(func() { s.f.lost["GenerateAPIKey"] = ecgrid.ErrTimeout })
			s.f.on("GenerateAPIKey", func() { s.f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable) })
			s.tick(80 * time.Minute)
			s.wantFailed()
			s.f.failWith("UserGetAPIKey", nil)
			s.tick(30 * time.Minute)
			s.wantChanges(1)
			s.wantRecorded()
		}},
		"process killed before it records the rotation": {hourly, func(s scheduled) {
			var p *process
			killed, p := startProcess(s.T, s.f, s.storage, func(st step) error {
				if st == (step{op: "GenerateAPIKey", done: true}) {
					p.kill()
				}
				return nil
			})
			time.Sleep(70 * time.Minute)
			go killed.Tick(context.Background())
			<-p.dead
			s.wantChanges(1)
			if last := s.rotation().Last; !last.IsZero() {
				s.Errorf("the killed process recorded the rotation at %s", last)
			}
			s.tick(10 * time.Minute)
			s.wantChanges(1)
			if r := readRole(s.T, s.e, "a"); r.Rotation.Last.IsZero() || r.Rotating != (Rotating{}) {
				s.Errorf("the next process has not completed the rotation: %+v", r)
			}
			s.tick(time.Hour)
			s.wantChanges(2)
		}},
		"result cannot be stored": {hourly, func(s scheduled) {
			s.f.set(func() {
				s.f.onAny = func(op string) { s.storage.FailPut(op == "GenerateAPIKey" || len(s.f.now().changes) > 0) }
			})
			s.tick(90 * time.Minute)
			s.f.set(func() { s.f.onAny = nil })
			s.storage.FailPut(false)
			s.tick(2 * time.Minute)
			s.wantChanges(1)
			s.wantRecorded()
		}},
		"storage cannot be written": {hourly, func(s scheduled) {
			s.storage.FailPut(true)
			s.tick(2 * time.Hour)
			s.wantChanges(0)
			s.storage.FailPut(false)
			s.tick(2 * time.Minute)
			s.wantChanges(1)
		}},
		"role deleted before GenerateAPIKey": {hourly, func(s scheduled) {
			s.f.on("UserGetAPIKey", func() { _ = s.e.DeleteRole(context.Background(), "a") })
			s.tick(2 * time.Hour)
			s.wantChanges(0)
			s.wantNoRole()
		}},
		"role deleted during GenerateAPIKey": {hourly, func(s scheduled) {
			s.f.on("GenerateAPIKey", func() { _ = s.e.DeleteRole(context.Background(), "a") })
			s.tick(3 * time.Hour)
			s.wantChanges(1)
			s.wantNoRole()
		}},
		"role gets another user meanwhile": {hourly, func(s scheduled) {
			s.f.on("UserGetAPIKey", func() { writeRole(s.T, s.e, "a", RolePatch{UserID: ptr(int32(5002))}) })
			s.tick(80 * time.Minute)
			s.wantChanges(0)
			if r := s.rotation(); r.LastError != "" || !r.Last.IsZero() {
				s.Errorf("a rotation of the other user is recorded: %+v", r)
			}
		}},
		"no schedule": {SchedulePatch{}, func(s scheduled) {
			s.tick(48 * time.Hour)
			s.wantChanges(0)
		}},
		"a date that does not exist": {SchedulePatch{Cron: ptr("0 0 30 2 *")}, func(s scheduled) {
			s.tick(time.Hour)
			s.wantChanges(0)
			if issued := issueCreds(s.T, s.e, "a"); issued.Terms.MaxTTL != 0 {
				s.Errorf("max TTL %s, want the mount's", issued.Terms.MaxTTL)
			}
		}},
		"leases end with the rotation": {hourly, testLeasesEndWithRotation},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			writeRole(t, e, "a", RolePatch{Schedule: tt.schedule})
			tt.do(scheduled{t, f, e, storage})
		})
	}
}

func testLeasesEndWithRotation(s scheduled) {
	time.Sleep(20 * time.Minute)
	at := time.Now()
	issued, err := s.e.IssueCreds(s.Context(), "a", 8*time.Hour)
	check(s.T, err)
	wantTerms := func(terms Terms, ttl, maxTTL time.Duration) {
		s.Helper()
		if !isAbout(terms.TTL, ttl) || !isAbout(terms.MaxTTL, maxTTL) {
			s.Errorf("got %+v, want about %s of %s", terms, ttl, maxTTL)
		}
	}
	wantTerms(issued.Terms, 40*time.Minute, 40*time.Minute)
	renew := func() (Terms, error) {
		return s.e.RenewLease(s.Context(), issued.Lease, Renewal{Issued: at, Was: issued.Terms})
	}
	time.Sleep(30 * time.Minute)
	terms, err := renew()
	check(s.T, err)
	wantTerms(terms, 10*time.Minute, 40*time.Minute)
	time.Sleep(15 * time.Minute) // the rotation is overdue
	if l := issueCreds(s.T, s.e, "a"); l.Terms.MaxTTL != overdueLease {
		s.Errorf("max TTL of an overdue role is %s, want %s", l.Terms.MaxTTL, overdueLease)
	}
	s.e.Tick(s.Context())
	s.wantChanges(1)
	wantErr(s.T, errOf(renew()), ErrKeyReplaced)
}

// A rotation that is recorded has replaced the key that was current when it was due. It is
// not mistaken for an earlier rotation that failed.
func TestRecordedRotationReplacedTheKey(t *testing.T) {
	t.Parallel()
	for name, crons := range map[string][]string{
		"missed window":         nil,
		"schedule changed":      {"0 4 * * *"},
		"schedule changed back": {"0 5 * * *", "0 3 * * *"},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Cron: ptr("0 3 * * *"), Window: ptr(time.Hour)}})
			f.failWith("GenerateAPIKey", ecgrid.ErrTimeout)
			tickFor(t, e, 3*time.Hour+30*time.Minute) // the first night
			if f.now().calls["GenerateAPIKey"] == 0 {
				t.Fatal("GenerateAPIKey was not called")
			}
			time.Sleep(4 * time.Hour)
			e.Tick(t.Context())
			f.failWith("GenerateAPIKey", nil)
			for _, cron := range crons {
				writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Cron: &cron}})
			}
			check(t, errOf(e.RotateKey(t.Context(), 5001))) // in the afternoon
			afternoon := f.now().keys[5001]
			tickFor(t, e, 22*time.Hour) // the second night
			if r := readRole(t, e, "a"); r.Rotation.Last.IsZero() || f.now().keys[5001] == afternoon {
				t.Errorf("the key of the afternoon was not replaced, or that is not recorded: %+v", r.Rotation)
			}
		})
	}
}
