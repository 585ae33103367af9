// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzRetryAfter reads any header. The wait is never negative, and a number is that many
// seconds.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"120", "0", "-5", "+5", " 7 ", "99999999999999999999", "1.5", "", "Wed, 01 Jan 2031 00:01:30 GMT", "Wednesday, 01-Jan-31 00:01:30 GMT", "Wed Jan  1 00:01:30 2031", "Tue, 31 Dec 2030 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed, "Wed, 01 Jan 2031 00:00:00 GMT")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		got := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}})
		if got < 0 {
			t.Fatalf("%q: wait %v", value, got)
		}
		digits := strings.TrimSpace(value)
		if digits == "" || strings.Trim(digits, "0123456789") != "" {
			return
		}
		want, err := strconv.ParseFloat(digits, 64)
		if want = min(want, math.MaxUint32); err == nil && got != time.Duration(want)*time.Second {
			t.Errorf("%q: wait %v, want %v s", value, got, want)
		}
	})
}
