// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/internal/panics"
)

const (
	// maxQueuedEvents bounds the events that wait while Vault does not take them. More
	// are dropped.
	maxQueuedEvents = 1000
	// eventTimeout bounds how long Vault may take for an event.
	eventTimeout = 5 * time.Second
)

// eventQueue sends the events of a mount one after the other, in the background. What
// caused an event never waits for it. An event that Vault does not take is lost.
type eventQueue struct {
	send func(context.Context, Event) error // nil: nobody wants events
	log  hclog.Logger
	ctx  context.Context // of all sending; it ends with the mount
	stop context.CancelFunc

	mu       sync.Mutex // guards the following
	waiting  []Event
	idle     chan struct{} // closed when nothing waits or is being sent; nil is idle
	dropping bool          // the queue was full at the last event

	failing bool // the last event was not taken; of the one goroutine that sends
}

func newEventQueue(send func(context.Context, Event) error, log hclog.Logger) *eventQueue {
	ctx, stop := context.WithCancel(context.Background())
	return &eventQueue{send: send, log: log, ctx: ctx, stop: stop}
}

// add queues an event. It does not block.
func (q *eventQueue) add(e Event) {
	if q.send == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	full := len(q.waiting) == maxQueuedEvents
	if full && !q.dropping {
		q.log.Warn("events are dropped, because Vault does not take them")
	}
	if q.dropping = full; full {
		return
	}
	q.waiting = append(q.waiting, e)
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.sendAll()
	}
}

// sendAll sends what waits. It ends when nothing does.
func (q *eventQueue) sendAll() {
	for e, ok := q.next(); ok; e, ok = q.next() {
		q.sendOne(e)
	}
}

func (q *eventQueue) next() (e Event, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.ctx.Err() != nil {
		close(q.idle)
		q.waiting, q.idle = nil, nil
		return Event{}, false
	}
	e, q.waiting = q.waiting[0], q.waiting[1:]
	return e, true
}

func (q *eventQueue) sendOne(e Event) {
	ctx, cancel := context.WithTimeout(q.ctx, eventTimeout)
	defer cancel()
	err := q.guarded(ctx, e)
	if err != nil && !q.failing {
		q.log.Debug("Vault does not take events", "error", err)
	}
	q.failing = err != nil
}

func (q *eventQueue) guarded(ctx context.Context, e Event) (err error) {
	defer panics.Recover(q.log, &err)
	return q.send(ctx, e)
}

// close waits, as long as ctx lasts, until all events are sent. The rest is lost. No
// event is sent after it.
func (q *eventQueue) close(ctx context.Context) {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
	q.stop()
}
