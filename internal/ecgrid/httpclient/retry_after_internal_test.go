// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfterHeader(t *testing.T) {
	t.Parallel()
	const date, later = "Wed, 01 Jan 2031 00:00:00 GMT", "Wed, 01 Jan 2031 00:01:30 GMT"
	for name, test := range map[string]struct {
		header http.Header
		want   time.Duration
	}{
		"absent":            {http.Header{}, 0},
		"seconds":           {http.Header{"Retry-After": {"120"}}, 120 * time.Second},
		"zero":              {http.Header{"Retry-After": {"0"}}, 0},
		"space":             {http.Header{"Retry-After": {" 7 "}}, 7 * time.Second},
		"largest":           {http.Header{"Retry-After": {"4294967295"}}, 4294967295 * time.Second},
		"too large":         {http.Header{"Retry-After": {"99999999999999999999"}}, 4294967295 * time.Second},
		"negative":          {http.Header{"Retry-After": {"-5"}}, 0},
		"plus":              {http.Header{"Retry-After": {"+5"}}, 0},
		"fraction":          {http.Header{"Retry-After": {"1.5"}}, 0},
		"hexadecimal":       {http.Header{"Retry-After": {"0x10"}}, 0},
		"empty":             {http.Header{"Retry-After": {""}}, 0},
		"garbage":           {http.Header{"Retry-After": {"soon"}}, 0},
		"date":              {http.Header{"Date": {date}, "Retry-After": {later}}, 90 * time.Second},
		"date, RFC 850":     {http.Header{"Date": {date}, "Retry-After": {"Wednesday, 01-Jan-31 00:01:30 GMT"}}, 90 * time.Second},
		"same date":         {http.Header{"Date": {date}, "Retry-After": {date}}, 0},
		"past date":         {http.Header{"Date": {later}, "Retry-After": {date}}, 0},
		"ISO date":          {http.Header{"Date": {date}, "Retry-After": {"2031-01-01T00:01:30Z"}}, 0},
		"date, seconds too": {http.Header{"Date": {date}, "Retry-After": {"3"}}, 3 * time.Second},
	} {
		if got := retryAfter(test.header); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// A server that does not say what time it is has the time of this machine.
func TestServerTime(t *testing.T) {
	t.Parallel()
	date := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := ServerTime(http.Header{"Date": {date.Format(http.TimeFormat)}}); !got.Equal(date) {
		t.Errorf("got %v, want %v", got, date)
	}
	for _, h := range []http.Header{{}, {"Date": {"soon"}}} {
		if off := time.Since(ServerTime(h)); off < 0 || off > time.Minute {
			t.Errorf("%v: off by %v", h, off)
		}
	}
	h := http.Header{"Retry-After": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}
	if got := retryAfter(h); got < 59*time.Minute || got > time.Hour {
		t.Errorf("a date in an hour: %v", got)
	}
}
