// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// keyOf is the API key that serveKeys sends for a user.
func keyOf(userID int32) string { return fmt.Sprintf("key-of-%d", userID) }

// isDenied tells for which users serveKeys sends a refusal.
func isDenied(userID int32) bool { return userID%7 == 0 }

// serveKeys answers UserGetAPIKey. respond sends the response.
func serveKeys(t *testing.T, p *protocol, respond func(conn net.Conn, response []byte)) *client {
	t.Helper()
	return serveTCP(t, p, func(conn net.Conn) {
		for in := bufio.NewReader(conn); ; {
			r, body, err := readRequest(in)
			if err != nil {
				return
			}
			id, _ := strconv.Atoi(p.userOf(r, body))
			if isDenied(int32(id)) {
				respond(conn, p.denied.raw())
				continue
			}
			respond(conn, answer{status: 200, body: p.key(keyOf(int32(id)))}.raw())
		}
	})
}

// sendTwice sends each response twice, with a pause between. The next request is answered
// after that.
func sendTwice(pause time.Duration) func(net.Conn, []byte) {
	return func(conn net.Conn, response []byte) {
		conn.Write(response)
		time.Sleep(pause)
		conn.Write(response)
	}
}

// sendTwiceAtOnce sends each response twice, in one packet.
func sendTwiceAtOnce(conn net.Conn, response []byte) { conn.Write(append(response, response...)) }

// If a server sends each response twice, one user's key is never taken for another's.
func TestDuplicateResponseIsNotTheNextOne(t *testing.T) {
	for name, respond := range map[string]func(net.Conn, []byte){
		"at once":                sendTwiceAtOnce,
		"next":                   sendTwice(0),
		"soon":                   sendTwice(20 * time.Microsecond),
		"later":                  sendTwice(900 * time.Microsecond),
		"too late for checkIdle": sendTwice(3 * time.Millisecond),
	} {
		for _, p := range protocols {
			t.Run(p.name+"/"+name, func(t *testing.T) { readManyKeys(t, serveKeys(t, p, respond)) })
		}
	}
}

// readManyKeys reads the keys of 1600 users, 8 at once.
func readManyKeys(t *testing.T, c *client) {
	t.Helper()
	var readers sync.WaitGroup
	var wrong, failed atomic.Int32
	for reader := range 8 {
		readers.Go(func() {
			for i := range 200 {
				id := int32(1000*reader + i + 1)
				key, err := c.UserGetAPIKey(t.Context(), session, id)
				switch {
				case isDenied(id) && errors.Is(err, ecgrid.ErrAccessDenied), !isDenied(id) && key == keyOf(id):
				case err == nil || errors.Is(err, ecgrid.ErrAccessDenied):
					wrong.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	readers.Wait()
	if wrong.Load() > 0 || failed.Load() > 0 {
		t.Errorf("of 1600: %d wrong keys, %d failures", wrong.Load(), failed.Load())
	}
}

// Nor is it taken for a later response about the same user, whose key may have been replaced
// since.
func TestDuplicateResponseIsNotAStaleKey(t *testing.T) {
	t.Parallel()
	for name, respond := range map[string]func(net.Conn, []byte){
		"at once": sendTwiceAtOnce,
		"next":    sendTwice(0),
		"soon":    sendTwice(20 * time.Microsecond),
		"later":   sendTwice(httpclient.QuietTime - 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				synctest.Test(t, func(t *testing.T) { readNewestKeys(t, p, respond) })
			})
		})
	}
}

// readNewestKeys reads a key that changes with each request.
func readNewestKeys(t *testing.T, p *protocol, respond func(net.Conn, []byte)) {
	t.Helper()
	var newest atomic.Int32
	n := newNetwork()
	wait := serveConns(n, func(conn net.Conn) {
		for in := bufio.NewReader(conn); ; {
			if _, _, err := readRequest(in); err != nil {
				return
			}
			respond(conn, answer{status: 200, body: p.key(strconv.Itoa(int(newest.Add(1))))}.raw())
		}
	})
	c := connect(t, p, ecgrid.Endpoint{URL: "http://ecgrid.test" + p.path})
	c.http.SetDialer(n.dial)
	defer func() { c.Close(); n.Close(); wait() }()
	for range 20 {
		before := newest.Load()
		key, err := c.UserGetAPIKey(t.Context(), session, 5001)
		if got, _ := strconv.Atoi(key); err != nil || got <= int(before) {
			t.Fatalf("got key %d of %d, %v", got, newest.Load(), err)
		}
	}
}
