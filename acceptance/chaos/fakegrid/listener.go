// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"errors"
	"net"
	"sync"
	"time"
)

// listener is a TCP listener that can be paused. It keeps its port.
type listener struct {
	addr string

	mu     sync.Mutex
	open   net.Listener // nil while paused
	hang   bool
	closed bool
	opened *sync.Cond
}

func newListener() (*listener, error) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &listener{addr: open.Addr().String(), open: open}
	l.opened = sync.NewCond(&l.mu)
	return l, nil
}

// accept waits for a connection to serve.
func (l *listener) accept() (net.Conn, error) {
	var hung []net.Conn
	defer func() {
		for _, c := range hung {
			_ = c.Close()
		}
	}()
	for {
		open, err := l.current()
		if err != nil {
			return nil, err
		}
		c, err := open.Accept()
		if err != nil {
			continue // current waits or fails
		}
		if !l.isHanging() {
			return c, nil
		}
		hung = append(hung, c)
	}
}

func (l *listener) current() (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open == nil && !l.closed {
		l.opened.Wait()
	}
	if l.closed {
		return nil, errors.New("closed")
	}
	return l.open, nil
}

func (l *listener) isHanging() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hang
}

func (l *listener) pause(hang bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hang = hang; hang || l.open == nil {
		return
	}
	_ = l.open.Close()
	l.open = nil
}

func (l *listener) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hang = false
	for tries := 0; l.open == nil && !l.closed && tries < 100; tries++ {
		open, err := net.Listen("tcp", l.addr)
		if err != nil {
			time.Sleep(20 * time.Millisecond) // an outgoing connection may use the port for a moment
			continue
		}
		l.open = open
	}
	l.opened.Broadcast()
}

func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.open != nil {
		_ = l.open.Close()
	}
	l.opened.Broadcast()
}
