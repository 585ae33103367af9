package soap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// keyOf is the API key that serveKeys sends for a user.
func keyOf(userID int32) string { return fmt.Sprintf("key-of-%d", userID) }

// isDenied tells for which users serveKeys sends a fault.
func isDenied(userID int32) bool { return userID%7 == 0 }

var requestedUser = regexp.MustCompile(`<UserID>(\d+)</UserID>`)

// serveKeys answers UserGetAPIKey. respond sends the response.
func serveKeys(t *testing.T, respond func(conn net.Conn, response []byte)) *Client {
	t.Helper()
	return serveTCP(t, func(conn net.Conn) {
		for in := bufio.NewReader(conn); ; {
			body, err := readRequest(in)
			if err != nil {
				return
			}
			id, _ := strconv.Atoi(string(requestedUser.FindSubmatch(body)[1]))
			if isDenied(int32(id)) {
				respond(conn, rawResponse(500, soapFault("soap:Client", "<detail><ErrorCode>2</ErrorCode></detail>")))
				continue
			}
			respond(conn, rawResponse(200, response("UserGetAPIKey", "<UserGetAPIKeyResult>"+keyOf(int32(id))+"</UserGetAPIKeyResult>")))
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

// If a server sends each response twice, one user's key is never taken for another's.
func TestDuplicateResponseIsNotTheNextOne(t *testing.T) {
	for name, respond := range map[string]func(net.Conn, []byte){
		"at once":                func(conn net.Conn, response []byte) { conn.Write(append(response, response...)) },
		"next":                   sendTwice(0),
		"soon":                   sendTwice(20 * time.Microsecond),
		"later":                  sendTwice(900 * time.Microsecond),
		"too late for checkIdle": sendTwice(3 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			c := serveKeys(t, respond)
			var readers sync.WaitGroup
			var wrong, failed atomic.Int32
			for reader := range 8 {
				readers.Go(func() {
					for i := range 200 {
						id := int32(1000*reader + i + 1)
						key, err := c.UserGetAPIKey(t.Context(), canarySession, id)
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
		})
	}
}

// Nor is it taken for a later response about the same user, whose key may have been replaced
// since.
func TestDuplicateResponseIsNotAStaleKey(t *testing.T) {
	t.Parallel()
	for name, respond := range map[string]func(net.Conn, []byte){
		"at once": func(conn net.Conn, response []byte) { conn.Write(append(response, response...)) },
		"next":    sendTwice(0),
		"soon":    sendTwice(20 * time.Microsecond),
		"later":   sendTwice(quietTime - 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var newest atomic.Int32
				n := newNetwork()
				wait := serveConns(n, func(conn net.Conn) {
					for in := bufio.NewReader(conn); ; {
						if _, err := readRequest(in); err != nil {
							return
						}
						result := fmt.Sprintf("<UserGetAPIKeyResult>%d</UserGetAPIKeyResult>", newest.Add(1))
						respond(conn, rawResponse(200, response("UserGetAPIKey", result)))
					}
				})
				c := connect(t, ecgrid.Endpoint{URL: "http://ecgrid.test/"})
				c.setDialer(n.dial)
				defer func() { c.Close(); n.Close(); wait() }()
				for range 20 {
					before := newest.Load()
					key, err := c.UserGetAPIKey(t.Context(), canarySession, 5001)
					if got, _ := strconv.Atoi(key); err != nil || got <= int(before) {
						t.Fatalf("got key %d of %d, %v", got, newest.Load(), err)
					}
				}
			})
		})
	}
}

func TestWatchedConnection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reading bool
		say     bool // something, while it is idle
		reuse   bool // the previous call succeeded
		usable  bool
	}{
		"idle":                           {true, false, true, true},
		"nobody reads":                   {false, false, true, false}, // the data is in some buffer
		"unsolicited data":               {true, true, true, false},
		"after a failed call":            {true, false, false, false},
		"after a failed call, more data": {true, true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				w := watch(ours)
				defer w.Close()
				if !w.acquire(t.Context()) {
					t.Fatal("a new connection cannot be acquired")
				}
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if w.acquire(short) {
					t.Fatal("acquired twice")
				}
				read := make(chan string, 1)
				if test.reading {
					go func() {
						buf := make([]byte, 64)
						n, _ := w.Read(buf)
						read <- string(buf[:n])
						if strings.Contains(string(buf), canaryUpstream) {
							t.Error("unsolicited data stays in a buffer")
						}
					}()
				}
				synctest.Wait()
				if w.release(test.reuse); !w.acquire(t.Context()) {
					t.Fatal("a released connection cannot be acquired")
				}
				if test.say {
					time.AfterFunc(quietTime/2, func() { theirs.Write([]byte(canaryUpstream)) })
				}
				w.lastRead = time.Now()
				if got := w.checkIdle(); got != test.usable {
					t.Errorf("usable: %v", got)
				}
				if test.say && test.reading && <-read != "" {
					t.Error("unsolicited data is passed on")
				}
			})
		})
	}
}

func TestRepeatedKey(t *testing.T) {
	t.Parallel()
	w := watch(nil)
	for i, call := range []struct {
		key    string
		userID int32
		want   bool
	}{{"a", 1, false}, {"a", 1, false}, {"b", 2, false}, {"b", 3, true}, {"a", 1, false}, {"c", 1, false}, {"c", 2, true}, {"", 3, false}, {"", 4, false}, {"a", 4, true}} {
		if got := w.repeatsKey(call.key, call.userID); got != call.want {
			t.Errorf("call %d: %v", i, got)
		}
	}
}
