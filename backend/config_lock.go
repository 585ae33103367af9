// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// configLock is held from before the read that a change of the config depends on until
// the change is stored and in use. It is held across a Login and across ChangePassword,
// so waiting for it ends with the request. Reads of keys, roles and the config never
// wait for it.
type configLock struct {
	store *store
	held  *semaphore.Weighted
	// interrupt cancels the work of a background holder.
	interrupt atomic.Pointer[context.CancelFunc]
}

func newConfigLock(s *store) *configLock {
	return &configLock{store: s, held: semaphore.NewWeighted(1)}
}

// withConfig runs change with the stored config, nil if there is none. Nobody else
// changes it meanwhile. A background holder is interrupted and tries again later.
func (l *configLock) withConfig(ctx context.Context, change func(*Config) error) error {
	if interrupt := l.interrupt.Load(); interrupt != nil {
		(*interrupt)()
	}
	release, err := l.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	c, err := l.store.config(ctx)
	if err != nil {
		return err
	}
	return change(c)
}

// acquire waits for the lock as long as ctx lasts.
func (l *configLock) acquire(ctx context.Context) (release func(), err error) {
	if err := l.held.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { l.held.Release(1) }, nil
}

// acquireInBackground acquires the lock for work that withConfig may interrupt: then the
// returned context ends.
func (l *configLock) acquireInBackground(ctx context.Context) (working context.Context, release func(), err error) {
	free, err := l.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	working, cancel := context.WithCancel(ctx)
	l.interrupt.Store(&cancel)
	return working, func() {
		l.interrupt.Store(nil)
		cancel()
		free()
	}, nil
}
