// SPDX-License-Identifier: MPL-2.0

// Package allocs counts the allocations of a read over gRPC. Both ends of gRPC are in
// this process, because it cannot ask another one. Vault's end is the same for all
// contenders. The upstream is another process.
package allocs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	ecgrid "vault-plugin-ecgrid"
	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
	"vault-plugin-ecgrid/bench/internal/upstream"
	"vault-plugin-ecgrid/bench/plugins/baseline"
	"vault-plugin-ecgrid/internal/ecgrid/clients"
)

type contender struct {
	testbed.Contender
	factory logical.Factory
}

var contenders = []contender{
	{testbed.MustFind(testbed.Noop), baseline.Factory(baseline.Options{})},
	{testbed.MustFind(testbed.NoopBare), baseline.Factory(baseline.Options{Bare: true})},
	{testbed.MustFind(testbed.Livefloor), baseline.Factory(baseline.Options{Bare: true, Post: true})},
	{testbed.MustFind(testbed.ECGrid), pluginFactory()},
	{testbed.MustFind(testbed.ECGridCached), pluginFactory()},
}

// pluginFactory returns what the main function of the plugin serves.
func pluginFactory() logical.Factory {
	p := &ecgrid.Plugin{
		Version: "v0.0.0",
		Commit:  "bench",
		Connect: clients.Connect,
		Clock:   backend.SystemClock{},
		Random:  rand.Reader,
	}
	return p.Factory
}

// Count returns the allocations of a read of each contender, averaged over n reads.
func Count(a upstream.Access, n int) (all []report.Allocs, err error) {
	hclog.SetDefault(hclog.NewNullLogger())
	for _, c := range contenders {
		allocs, err := c.count(a, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		all = append(all, allocs)
	}
	return all, nil
}

// count runs within testing.Benchmark, because go-plugin needs a testing.TB to connect
// two ends in one process.
func (c contender) count(a upstream.Access, n int) (allocs report.Allocs, err error) {
	err = errors.New("the benchmark did not run")
	testing.Benchmark(func(b *testing.B) {
		if b.N == 1 {
			allocs, err = c.measure(b, a, n)
		}
		b.SkipNow()
	})
	return allocs, err
}

func (c contender) measure(b *testing.B, a upstream.Access, n int) (report.Allocs, error) {
	ctx := context.Background()
	client, _ := goplugin.TestPluginGRPCConn(b, false, map[string]goplugin.Plugin{
		plugin.BackendPluginName: &plugin.GRPCBackendPlugin{Factory: c.factory, Logger: hclog.NewNullLogger()},
	})
	defer client.Close() // also stops the server
	raw, err := client.Dispense(plugin.BackendPluginName)
	if err != nil {
		return report.Allocs{}, err
	}
	mount := raw.(logical.Backend)
	storage := new(logical.InmemStorage)
	system := logical.TestSystemView() // says what Vault Community says
	system.ReplicationStateVal = consts.ReplicationPerformanceDisabled | consts.ReplicationDRDisabled
	err = mount.Setup(ctx, &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), System: system, StorageView: storage, BackendUUID: "bench",
	})
	if err != nil {
		return report.Allocs{}, err
	}
	defer mount.Cleanup(ctx)
	do := func(op logical.Operation, path string, data map[string]any) error {
		resp, err := mount.HandleRequest(ctx, &logical.Request{Operation: op, Path: path, Data: data, Storage: storage, MountPoint: "bench/"})
		if err == nil && resp.IsError() {
			err = resp.Error()
		}
		return err
	}
	if c.Config != nil {
		if err := do(logical.UpdateOperation, "config", c.Config(a)); err != nil {
			return report.Allocs{}, err
		}
	}
	read := func() error { return do(logical.ReadOperation, "keys/"+strconv.Itoa(upstream.FirstUser), nil) }
	return c.countReads(n, read)
}

func (c contender) countReads(n int, read func() error) (report.Allocs, error) {
	var before, after runtime.MemStats
	warmUp := 20 + n/10
	for i := range warmUp + n {
		if i == warmUp {
			runtime.ReadMemStats(&before)
		}
		if err := read(); err != nil {
			return report.Allocs{}, err
		}
	}
	runtime.ReadMemStats(&after)
	return report.Allocs{
		Contender: c.Name,
		Objects:   float64(after.Mallocs-before.Mallocs) / float64(n),
		Bytes:     float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
	}, nil
}
