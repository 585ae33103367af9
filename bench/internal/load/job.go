// SPDX-License-Identifier: MPL-2.0

// Package load is the load generator. Each worker has a keep-alive connection and sends
// its next request when the last one is answered. The generator is a process of its own,
// so its CPU does not count as anyone's.
package load

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Job is a series of requests that differ only in the user. Set PerWorker or Duration. A
// job with neither runs until it is stopped.
type Job struct {
	Addr   string // host:port
	Method string
	Path   string // may contain Placeholder
	Header map[string]string
	Body   string // may contain Placeholder

	Workers   int
	FirstUser int
	// Users is the number of users. They take turns. If there are as many users as
	// workers, each worker keeps its own user, so concurrent requests never share one.
	Users int

	WarmUp    int // requests of each worker before all workers start to count
	PerWorker int // requests of each worker
	Duration  time.Duration
}

// Placeholder stands for the user ID in a path or a body.
const Placeholder = "{}"

// user returns the user of the nth request of a worker.
func (j Job) user(worker, n int) int {
	return j.FirstUser + (worker+n*j.Workers)%j.Users
}

// template is a request whose head and body may contain Placeholder.
type template struct{ head, body string }

const lengthPlaceholder = "{length}"

func (j Job) template() template {
	var head strings.Builder
	head.WriteString(j.Method + " " + j.Path + " HTTP/1.1\r\nHost: " + j.Addr + "\r\n")
	for _, name := range slices.Sorted(maps.Keys(j.Header)) {
		head.WriteString(name + ": " + j.Header[name] + "\r\n")
	}
	if j.Body != "" {
		head.WriteString("Content-Length: " + lengthPlaceholder + "\r\n")
	}
	head.WriteString("\r\n")
	return template{head.String(), j.Body}
}

func (t template) request(user int) []byte {
	id := strconv.Itoa(user)
	body := strings.ReplaceAll(t.body, Placeholder, id)
	head := strings.ReplaceAll(t.head, Placeholder, id)
	return []byte(strings.Replace(head, lengthPlaceholder, strconv.Itoa(len(body)), 1) + body)
}

// Result is the result of a Job.
type Result struct {
	Reads      int // successful ones, after the warm-up
	WarmUps    int // successful ones
	Errors     int // also during the warm-up
	FirstError string
	RPS        float64

	P50, P99 time.Duration
	Wall     time.Duration // until the last answer
}

// Total returns the number of all successful requests.
func (r Result) Total() int { return r.Reads + r.WarmUps }
