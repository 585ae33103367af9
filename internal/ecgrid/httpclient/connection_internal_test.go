// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const unsolicited = "canary-unsolicited"

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
						if strings.Contains(string(buf), unsolicited) {
							t.Error("unsolicited data stays in a buffer")
						}
					}()
				}
				synctest.Wait()
				if w.release(test.reuse); !w.acquire(t.Context()) {
					t.Fatal("a released connection cannot be acquired")
				}
				if test.say {
					time.AfterFunc(quietTime/2, func() { theirs.Write([]byte(unsolicited)) })
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
