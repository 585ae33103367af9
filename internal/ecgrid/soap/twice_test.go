package soap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
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
