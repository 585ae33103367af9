package soap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

// keyOf is the key that servers of twice give a user.
func keyOf(userID int32) string { return fmt.Sprintf("key-of-%d", userID) }

// denied are the users whose keys they do not give.
func denied(userID int32) bool { return userID%7 == 0 }

var askedFor = regexp.MustCompile(`<UserID>(\d+)</UserID>`)

// serveTwice answers UserGetAPIKey with that user's key, and then says something
// more on the same connection.
func serveTwice(t *testing.T, more func(conn net.Conn, answer []byte)) (*Client, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var answers atomic.Int32
	var conns sync.WaitGroup
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			id, _ := strconv.Atoi(string(askedFor.FindSubmatch(body)[1]))
			status, said := 200, response("UserGetAPIKey", "<UserGetAPIKeyResult>"+keyOf(int32(id))+"</UserGetAPIKeyResult>")
			if denied(int32(id)) {
				status, said = 500, soapFault("soap:Client", "<detail><ErrorCode>2</ErrorCode></detail>")
			}
			answers.Add(1)
			more(conn, fmt.Appendf(nil, "HTTP/1.1 %d OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", status, len(said), said))
		}
	}
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { serve(conn) })
		}
	})
	c := connect(t, ecgrid.Endpoint{URL: "http://" + l.Addr().String(), MaxConcurrent: 4})
	t.Cleanup(func() { c.Close(); l.Close(); conns.Wait() })
	return c, &answers
}

// again says it twice, with a pause. The next request is answered only after that.
func again(pause time.Duration) func(net.Conn, []byte) {
	return func(conn net.Conn, answer []byte) {
		conn.Write(answer)
		time.Sleep(pause)
		conn.Write(answer)
	}
}

// A server that answers twice never has one user's key taken for another's.
func TestSecondAnswerIsNotTheNextOne(t *testing.T) {
	for name, more := range map[string]func(net.Conn, []byte){
		"at once": func(conn net.Conn, answer []byte) { conn.Write(append(answer, answer...)) },
		"next":    func(conn net.Conn, answer []byte) { conn.Write(answer); conn.Write(answer) },
		"soon":    again(20 * time.Microsecond),
		"later":   again(900 * time.Microsecond),
		"too late for its connection to be quiet": again(3 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			c, answers := serveTwice(t, more)
			var readers sync.WaitGroup
			var wrong, failed atomic.Int32
			for reader := range 8 {
				readers.Go(func() {
					for i := range 200 {
						id := int32(1000*reader + i + 1)
						key, err := c.UserGetAPIKey(t.Context(), canarySession, id)
						switch {
						case denied(id) && errors.Is(err, ecgrid.ErrAccessDenied), !denied(id) && key == keyOf(id):
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
				t.Errorf("of 1600: %d wrong answers, %d failures, %d answers", wrong.Load(), failed.Load(), answers.Load())
			}
		})
	}
}

// Nor is it taken for a newer answer about the same user: the key in it may have
// been replaced since.
func TestSecondAnswerIsNotAStaleKey(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]func(net.Conn, []byte){
		"at once": func(conn net.Conn, answer []byte) { conn.Write(append(answer, answer...)) },
		"next":    again(0),
		"soon":    again(20 * time.Microsecond),
		"later":   again(settle - 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var newest atomic.Int32
				p := newPipes()
				serve := func(conn net.Conn) {
					defer conn.Close()
					for in := bufio.NewReader(conn); ; {
						r, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						io.Copy(io.Discard, r.Body)
						said := response("UserGetAPIKey", fmt.Sprintf("<UserGetAPIKeyResult>%d</UserGetAPIKeyResult>", newest.Add(1)))
						more(conn, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(said), said))
					}
				}
				go func() {
					for {
						conn, err := p.Accept()
						if err != nil {
							return
						}
						go serve(conn)
					}
				}()
				c := connect(t, ecgrid.Endpoint{URL: "http://ecgrid.test/"})
				c.dialThrough(p.dial)
				defer func() { c.Close(); p.Close(); time.Sleep(time.Second) }() // the server is done too
				for range 20 {
					before := newest.Load()
					key, err := c.UserGetAPIKey(t.Context(), canarySession, 5001)
					if n, _ := strconv.Atoi(key); err != nil || n <= int(before) {
						t.Fatalf("got key %d of %d, %v", n, newest.Load(), err)
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
		say     bool // while it is idle
		left    bool // how the call before it went
		quiet   bool
	}{
		"as it should be":        {true, false, true, true},
		"nobody reads":           {false, false, true, false}, // there is something in a buffer
		"said unasked":           {true, true, true, false},
		"left for what it said":  {true, false, false, false},
		"left, and more is said": {true, true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				w := watch(ours)
				defer w.Close()
				if !w.take(t.Context()) {
					t.Fatal("a new connection is taken")
				}
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if w.take(short) {
					t.Fatal("taken by two")
				}
				heard := make(chan string, 1)
				if test.reading {
					go func() {
						buf := make([]byte, 64)
						n, _ := w.Read(buf)
						heard <- string(buf[:n])
						if strings.Contains(string(buf), canaryUpstream) {
							t.Error("what was said unasked stays in a buffer")
						}
					}()
				}
				synctest.Wait()
				if w.leave(test.left); !w.take(t.Context()) {
					t.Fatal("a connection that was left is taken")
				}
				if test.say {
					time.AfterFunc(settle/2, func() { theirs.Write([]byte(canaryUpstream)) })
				}
				w.heard = time.Now()
				if got := w.quiet(); got != test.quiet {
					t.Errorf("quiet: %v", got)
				}
				if test.say && test.reading && <-heard != "" {
					t.Error("what was said unasked is passed on")
				}
			})
		})
	}
}

func TestAnothersKey(t *testing.T) {
	t.Parallel()
	w := watch(nil)
	for i, call := range []struct {
		key    string
		userID int32
		want   bool
	}{{"a", 1, false}, {"a", 1, false}, {"b", 2, false}, {"b", 3, true}, {"a", 1, false}, {"c", 1, false}, {"c", 2, true}} {
		if got := w.isAnothers(call.key, call.userID); got != call.want {
			t.Errorf("call %d: %v", i, got)
		}
	}
}
