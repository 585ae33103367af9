// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"net"
	"sync"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A pooled connection can be unusable in two ways. The server may have closed it or sent
// data that no request asked for: checkIdle notices that before it is used. A firewall may
// have forgotten it, which neither side is told: await notices that it stays silent.

const (
	// quietTime is how long a pooled connection must have been quiet before it is used
	// again. A response that is sent twice comes twice in a row.
	quietTime = 250 * time.Microsecond
	// maxReadStart is how long checkIdle waits for net/http to start to read from a
	// connection that was just returned to the pool.
	maxReadStart = 5 * time.Millisecond
	// maxOwners bounds the keys that a connection remembers.
	maxOwners = 128
	// maxSilence is how long a pooled connection may be silent before a read also tries a
	// new one; but at most a third of the time that is left.
	maxSilence = 2 * time.Second
)

// watchedConn is a connection that notices unsolicited data. net/http would take a
// surplus response for the response to the next call, and so one user's key for another's.
type watchedConn struct {
	net.Conn
	// inUse is full from acquire to release. net/http hands the connection to the next
	// call as soon as it has read a response, which may be before the call has parsed it.
	inUse chan struct{}

	mu          sync.Mutex    // guards the following
	reading     bool          // a Read is waiting
	lastRead    time.Time     // when the last Read ended
	readStarted chan struct{} // closed by the next Read; nil if nobody waits for it
	idle        bool          // acquired, but nothing is written yet
	unusable    bool
	owners      map[uint64]int32 // users whose keys came over this connection, by hash of the key
}

var keySeed = maphash.MakeSeed()

var errUnsolicited = errors.New("unsolicited data")

func watch(conn net.Conn) *watchedConn {
	return &watchedConn{Conn: conn, inUse: make(chan struct{}, 1)}
}

// watchedConnOf returns the watched connection in conn, or nil if there is none.
func watchedConnOf(conn net.Conn) *watchedConn {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	w, _ := conn.(*watchedConn)
	return w
}

func (w *watchedConn) Read(b []byte) (int, error) {
	w.mu.Lock()
	w.reading = true
	if w.readStarted != nil {
		close(w.readStarted)
		w.readStarted = nil
	}
	w.mu.Unlock()
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading, w.lastRead = false, time.Now()
	if n > 0 && w.idle {
		w.unusable = true
		clear(b[:n])
		return 0, errUnsolicited
	}
	return n, err
}

func (w *watchedConn) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.idle = false
	w.mu.Unlock()
	return w.Conn.Write(b)
}

// acquire waits until the previous call has released the connection. It returns false if
// ctx ends first.
func (w *watchedConn) acquire(ctx context.Context) bool {
	select {
	case w.inUse <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// checkIdle reports whether an acquired connection from the pool can be used. It cannot if
// it sent unsolicited data or was closed. If no Read starts, a surplus response is in some
// buffer.
func (w *watchedConn) checkIdle() bool {
	w.mu.Lock()
	w.idle = true
	wait := quietTime - time.Since(w.lastRead)
	w.mu.Unlock()
	if wait > 0 {
		time.Sleep(wait)
	}
	if w.awaitRead() {
		time.Sleep(quietTime)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reading && !w.unusable
}

// awaitRead waits until a Read is waiting, or maxReadStart has passed. It reports whether
// it had to wait.
func (w *watchedConn) awaitRead() bool {
	w.mu.Lock()
	if w.reading || w.unusable {
		w.mu.Unlock()
		return false
	}
	started := make(chan struct{})
	w.readStarted = started
	w.mu.Unlock()
	select {
	case <-started:
	case <-time.After(maxReadStart):
	}
	return true
}

// release ends the use of an acquired connection. If the call failed, the connection must
// not be reused: the response may have been a second copy of an earlier one, and the right
// one may follow.
func (w *watchedConn) release(reusable bool) {
	if w == nil {
		return
	}
	if !reusable {
		w.mu.Lock()
		w.unusable = true
		w.mu.Unlock()
		w.Close()
	}
	<-w.inUse
}

// repeatsKey records the key of a user. It reports whether the connection has delivered
// the same key for another user: a response that was sent twice, the second time too late
// for checkIdle.
func (w *watchedConn) repeatsKey(key string, userID int32) bool {
	hash := maphash.String(keySeed, key)
	w.mu.Lock()
	defer w.mu.Unlock()
	owner, known := w.owners[hash]
	if w.owners == nil || len(w.owners) >= maxOwners {
		w.owners = map[uint64]int32{}
	}
	w.owners[hash] = userID
	return known && owner != userID && key != ""
}

// silentSoFar is the failure of an exchange that still runs.
var silentSoFar = &Failure{Kind: ecgrid.ErrTimeout, Transient: true}

// await waits for the header of x or of the silent exchange, whichever comes first. If x
// is silent for too long on a pooled connection, it becomes the silent exchange.
func (c *httpCall) await(ctx context.Context, x *exchange) (*exchange, *Failure) {
	reused := x.reused
	var tooSilent <-chan time.Time
	var silentDone <-chan struct{}
	if c.silent != nil {
		silentDone = c.silent.done
	}
	for {
		select {
		case <-x.done:
			if c.silent != nil && x.failure == nil {
				// The network works, so the other pooled connections may be dead too.
				c.pooled.CloseIdleConnections()
			}
			return x, x.failure
		case <-silentDone:
			silent := c.silent
			c.silent, silentDone = nil, nil
			if silent.failure == nil {
				go x.discard() // once ctx ends
				return silent, nil
			}
		case <-reused:
			reused = nil
			deadline, _ := ctx.Deadline() // send sets one
			timer := time.NewTimer(min(maxSilence, time.Until(deadline)/3))
			defer timer.Stop()
			tooSilent = timer.C
		case <-tooSilent:
			c.silent = x
			return nil, silentSoFar
		}
	}
}

// awaitSilent waits for the silent exchange, if there is one, after all others failed with
// f. It does not if f would fail the silent exchange too.
func (c *httpCall) awaitSilent(ctx context.Context, f *Failure) *Failure {
	silent := c.silent
	if silent == nil || !f.Transient {
		return f
	}
	<-silent.done // with ctx at the latest
	c.silent = nil
	switch {
	case silent.failure == nil:
		return c.read(ctx, silent)
	case silent.failure.Kind == canceled{}:
		return silent.failure
	}
	return f
}
