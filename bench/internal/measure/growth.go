// SPDX-License-Identifier: MPL-2.0

package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"vault-plugin-ecgrid/bench/internal/proc"
	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// growing is a kind of object that becomes more numerous.
type growing struct {
	kind      string
	contender string
	path      string // of the measured reads
	users     int    // that are read in turn
	leases    int    // created so far
}

// growth measures reads at rising numbers of leases, then of roles.
func (b *Bench) growth(ctx context.Context) error {
	p := b.Plan.Growth
	contenders := find(testbed.ECGrid, testbed.Livefloor)
	return b.withVault(ctx, testbed.Inmem, contenders, 1, func(v *testbed.Vault, _ []mounted) error {
		if err := b.growLeases(ctx, v); err != nil {
			return err
		}
		for _, n := range p.Roles {
			if err := b.growRoles(ctx, v, n); err != nil {
				return err
			}
		}
		if p.Idle == 0 {
			return nil
		}
		return b.idle(ctx, v, p.Roles[len(p.Roles)-1])
	})
}

func (b *Bench) growLeases(ctx context.Context, v *testbed.Vault) error {
	if err := b.writeRoles(ctx, v, "counted", 1, `{"user_id":"{}","rotate_on_revoke":true}`); err != nil {
		return err
	}
	all := []*growing{
		{kind: report.Leases, contender: testbed.Livefloor, path: testbed.Livefloor + "/keys/{}", users: 1},
		{kind: report.Leases, contender: testbed.ECGrid, path: testbed.ECGrid + "/keys/{}", users: 1},
		{kind: report.CountedLeases, contender: testbed.ECGrid, path: testbed.ECGrid + "/creds/counted-{}", users: 1},
	}
	for _, n := range b.Plan.Growth.Leases {
		b.Logf("growth: %d leases", n)
		for _, g := range all {
			created, err := b.sendAll(ctx, v.Job(g.path, 1), n-g.leases, g.users)
			if err != nil {
				return err
			}
			g.leases += created
		}
		if err := b.measureReads(ctx, v, all, n); err != nil {
			return err
		}
	}
	return nil
}

// growRoles measures reads of n roles in turn. They have schedules, so the plugin has to
// keep track of them. Livefloor has no roles. It shows how the machine changed meanwhile.
func (b *Bench) growRoles(ctx context.Context, v *testbed.Vault, n int) error {
	b.Logf("growth: %d roles", n)
	if err := b.writeRoles(ctx, v, "grown", n, `{"user_id":"{}","rotation_period":"720h"}`); err != nil {
		return err
	}
	return b.measureReads(ctx, v, []*growing{
		{kind: report.Roles, contender: testbed.Livefloor, path: testbed.Livefloor + "/keys/{}", users: 1},
		{kind: report.Roles, contender: testbed.ECGrid, path: testbed.ECGrid + "/creds/grown-{}", users: n},
	}, n)
}

// measureReads measures one read at a time, in rounds of random order.
func (b *Bench) measureReads(ctx context.Context, v *testbed.Vault, all []*growing, n int) error {
	p := b.Plan.Growth
	results := make([]report.Growth, len(all))
	for range p.Rounds {
		for _, i := range b.Random.Perm(len(all)) {
			g := all[i]
			job := v.Job(g.path, 1)
			job.Users, job.WarmUp, job.PerWorker = g.users, p.Reads/10, p.Reads
			r, u, err := b.load(ctx, v, testbed.MustFind(g.contender), job)
			if err != nil {
				return err
			}
			g.leases += r.Total()
			result := &results[i]
			result.Kind, result.Contender, result.Count, result.RSS = g.kind, g.contender, n, u.rss
			result.P50 = append(result.P50, inMS(r.P50))
			result.CPU = append(result.CPU, perRead(u.vaultCPU+u.pluginCPU, r.Total()))
		}
	}
	b.Result.Growth = append(b.Result.Growth, results...)
	return nil
}

// idle measures a time without requests. It adds a twelfth, so that a minute contains
// one of Vault's periodic calls.
func (b *Bench) idle(ctx context.Context, v *testbed.Vault, roles int) error {
	p := b.Plan.Growth
	b.Logf("idle for %s with %d roles", p.Idle, roles)
	began := time.Now()
	u, err := b.observe(ctx, v, testbed.MustFind(testbed.ECGrid), func() error {
		select {
		case <-time.After(p.Idle + p.Idle/12):
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	b.Result.Idle = &report.Idle{
		Roles: roles, Seconds: time.Since(began).Seconds(),
		PluginCPU: inMS(u.pluginCPU), VaultCPU: inMS(u.vaultCPU), Calls: u.upstream.Total(),
	}
	return err
}

// list measures one LIST of all users.
func (b *Bench) list(ctx context.Context) error {
	b.Logf("list of %d users", b.Plan.Users)
	return b.withVault(ctx, testbed.Inmem, find(testbed.ECGrid), 1, func(v *testbed.Vault, _ []mounted) error {
		l := report.List{Users: b.Plan.Users}
		began := time.Now()
		status, _, err := b.Upstream.Call(ctx, "UserList", upstream.SOAPBody("UserList", "<SessionID>"+b.Upstream.APIKey+"</SessionID><Name></Name>"))
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("UserList: HTTP %d, %v", status, err)
		}
		l.Upstream = inMS(time.Since(began))
		pid, err := v.PID(testbed.MustFind(testbed.ECGrid))
		if err != nil {
			return err
		}
		if l.RSSBefore, _, err = proc.Memory(pid); err != nil {
			return err
		}
		_ = proc.ResetPeak(pid)
		began = time.Now()
		var answer json.RawMessage
		if err := v.Do(ctx, "LIST", testbed.ECGrid+"/keys", nil, &answer); err != nil {
			return err
		}
		l.Took, l.Bytes = inMS(time.Since(began)), len(answer)
		if _, l.Peak, err = proc.Memory(pid); err != nil {
			return err
		}
		var list struct {
			Data struct {
				Keys []string `json:"keys"`
			} `json:"data"`
		}
		err = json.Unmarshal(answer, &list)
		l.Listed = len(list.Data.Keys)
		b.Result.List = &l
		return err
	})
}
