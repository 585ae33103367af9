package soap

import (
	"context"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"net"
	"sync"
	"time"
)

// settle is how long a kept connection must have been quiet before it is used
// again: what a server says twice comes right behind.
const settle = time.Millisecond

// watched is a connection that notices what nobody asked for. net/http would take
// one answer too many for the answer to the next call: one user's key for
// another's.
type watched struct {
	net.Conn
	// turn is full while a call uses the connection, until that is through with its
	// answer: net/http gives the connection away as soon as it has read it.
	turn chan struct{}

	mu      sync.Mutex
	reading bool      // a Read waits for more
	heard   time.Time // when the last Read ended
	idle    bool      // taken for a request of which nothing is written yet
	spoilt  bool
	last    keyGiven
}

// keyGiven is the last key that came over a connection, and whose it is.
type keyGiven struct {
	userID int32
	hash   uint64
}

var keySeed = maphash.MakeSeed()

var errUnasked = errors.New("said unasked")

func watch(conn net.Conn) *watched {
	return &watched{Conn: conn, turn: make(chan struct{}, 1)}
}

// watchedOf is nil for a connection that is not watched.
func watchedOf(conn net.Conn) *watched {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	w, _ := conn.(*watched)
	return w
}

func (w *watched) Read(b []byte) (int, error) {
	w.mu.Lock()
	w.reading = true
	w.mu.Unlock()
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading, w.heard = false, time.Now()
	if n > 0 && w.idle {
		w.spoilt = true
		clear(b[:n])
		return 0, errUnasked
	}
	return n, err
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.idle = false
	w.mu.Unlock()
	return w.Conn.Write(b)
}

// take begins the use of the connection, when the call before is through with it.
// It is false when ctx ends first.
func (w *watched) take(ctx context.Context) bool {
	select {
	case w.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// quiet readies a kept connection that was taken. It is false when something was
// said unasked, or the connection has ended: with an answer too many in some
// buffer, nobody waits to read the next.
func (w *watched) quiet() bool {
	w.mu.Lock()
	w.idle = true
	rest := settle - time.Since(w.heard)
	w.mu.Unlock()
	if rest > 0 {
		time.Sleep(rest)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reading && !w.spoilt
}

// leave ends the use of a connection that was taken. Nobody else can use it if it
// did not go well: what came may be the second copy of an earlier answer, and the
// right one follow.
func (w *watched) leave(well bool) {
	if !well {
		w.mu.Lock()
		w.spoilt = true
		w.mu.Unlock()
		w.Close()
	}
	<-w.turn
}

// isAnothers tells a key that came over this connection just before, as another
// user's: an answer that was given twice, the second time too late to be noticed.
func (w *watched) isAnothers(key string, userID int32) bool {
	given := keyGiven{userID, maphash.String(keySeed, key)}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.last
	w.last = given
	return before.hash == given.hash && before.userID != userID && before != keyGiven{}
}
