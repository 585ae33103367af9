// SPDX-License-Identifier: MPL-2.0

package measure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vault-plugin-ecgrid/bench/internal/load"
	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// stormTimeout is when a storm is reported as not finished.
const stormTimeout = 5 * time.Minute

const rotateOnRevoke = "rotate_on_revoke"

// storm is a kind of leases that are revoked at once. The leases are of roles unless role
// is "". It is the prefix of their names.
type storm struct {
	contender, kind, role string
	users                 int
}

// storms revokes many leases at once, while others read.
func (b *Bench) storms(ctx context.Context) error {
	users := b.Plan.Storm.Users
	contenders := find(testbed.ECGrid, testbed.Livefloor)
	return b.withVault(ctx, testbed.Inmem, contenders, 1, func(v *testbed.Vault, _ []mounted) error {
		for _, s := range []storm{
			{testbed.Livefloor, "leases", "", users},
			{testbed.ECGrid, "leases", "plain", users},
			{testbed.ECGrid, rotateOnRevoke, "rotating", users},
			{testbed.ECGrid, rotateOnRevoke + ", one user", "single", 1},
		} {
			if err := b.storm(ctx, v, s); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *Bench) storm(ctx context.Context, v *testbed.Vault, s storm) error {
	p := b.Plan.Storm
	b.Logf("storm: %d leases of %s, %s", p.Leases, s.contender, s.kind)
	if err := b.Upstream.SetLatency(ctx, 0); err != nil {
		return err
	}
	prefix, path := s.contender+"/keys", "/{}"
	if s.role != "" {
		prefix, path = s.contender+"/creds", "/"+s.role+"-{}"
		body := fmt.Sprintf(`{"user_id":"{}","rotate_on_revoke":%t}`, strings.HasPrefix(s.kind, rotateOnRevoke))
		if err := b.writeRoles(ctx, v, s.role, s.users, body); err != nil {
			return err
		}
	}
	leases, err := b.sendAll(ctx, v.Job(prefix+path, 1), p.Leases, s.users)
	if err != nil {
		return err
	}
	if err := b.Upstream.SetLatency(ctx, p.Latency); err != nil {
		return err
	}
	result := report.Storm{Contender: s.contender, Kind: s.kind, Leases: leases, Users: s.users, Latency: inMS(p.Latency)}
	// The readers read the keys of other users.
	readers := v.Job(testbed.ECGrid+"/keys/{}", p.Readers)
	readers.FirstUser += p.Users
	readers.WarmUp, readers.Duration = 2, p.Before
	before, err := b.Load.Run(ctx, readers)
	if err != nil {
		return err
	}
	result.P50Before, result.P99Before = inMS(before.P50), inMS(before.P99)
	readers.Duration = 0
	if err := b.revoke(ctx, v, prefix, readers, &result); err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	b.Result.Storms = append(b.Result.Storms, result)
	return nil
}

// revoke revokes all leases below a path while the readers read.
func (b *Bench) revoke(ctx context.Context, v *testbed.Vault, prefix string, readers load.Job, result *report.Storm) error {
	calls, err := b.Upstream.During(ctx, func() error {
		if err := b.Load.Begin(readers); err != nil {
			return err
		}
		began := time.Now()
		err := v.Do(ctx, http.MethodPost, "sys/leases/revoke-prefix/"+prefix, map[string]any{"sync": false}, nil)
		if err == nil {
			result.Finished, err = b.awaitNoLease(ctx, v, prefix)
		}
		result.Took = inMS(time.Since(began))
		r, endErr := b.Load.End()
		result.Reads, result.Errors = r.Reads, r.Errors
		result.P50, result.P99 = inMS(r.P50), inMS(r.P99)
		return errors.Join(err, endErr)
	})
	result.Rotations, result.Calls = calls.Calls[upstream.Generate], calls.Total()
	return err
}

// awaitNoLease waits until Vault has no lease below a path. It returns false after
// stormTimeout.
func (b *Bench) awaitNoLease(ctx context.Context, v *testbed.Vault, path string) (gone bool, err error) {
	for began := time.Now(); time.Since(began) < stormTimeout; time.Sleep(20 * time.Millisecond) {
		err := v.Do(ctx, "LIST", "sys/leases/lookup/"+path, nil, nil)
		if testbed.Status(err) == http.StatusNotFound {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// writeRoles writes the roles name-<user> of n users.
func (b *Bench) writeRoles(ctx context.Context, v *testbed.Vault, name string, n int, body string) error {
	job := v.Job(testbed.ECGrid+"/roles/"+name+"-{}", 1)
	job.Method, job.Body = http.MethodPost, body
	job.Header["Content-Type"] = "application/json"
	_, err := b.sendAll(ctx, job, n, n)
	return err
}

// sendAll sends at least n requests of a job, for the users in turn, with up to 32
// workers. It returns how many succeeded.
func (b *Bench) sendAll(ctx context.Context, job load.Job, n, users int) (int, error) {
	if n <= 0 {
		return 0, nil
	}
	job.Workers = min(32, n)
	job.PerWorker = (n + job.Workers - 1) / job.Workers
	job.Users = users
	r, err := b.Load.Run(ctx, job)
	if err == nil && r.Errors > 0 {
		err = fmt.Errorf("%s %s: %d errors, the first: %s", job.Method, job.Path, r.Errors, r.FirstError)
	}
	return r.Reads, err
}
