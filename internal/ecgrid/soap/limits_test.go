// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// largeBody is a response: head, units times unit, tail.
type largeBody struct {
	head, unit, tail string
	units            int
}

func (b largeBody) send(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	out := bufio.NewWriterSize(w, 32<<10)
	out.WriteString(b.head)
	for range b.units {
		if _, err := out.WriteString(b.unit); err != nil {
			return
		}
	}
	out.WriteString(b.tail)
	out.Flush()
}

// measureHeap returns by how many bytes f grew the heap, and how many it allocated. Memory
// is not returned to the system so soon, so growth is that of the peak.
func measureHeap(f func()) (grown, allocated int64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.HeapSys-after.HeapReleased) - int64(before.HeapSys-before.HeapReleased),
		int64(after.TotalAlloc - before.TotalAlloc)
}

var garbage []byte // global, so that it is really allocated

// Large responses do not take much memory. The limits of the list are lower than the real
// ones, which would take hours. Not parallel: it measures the process.
func TestFiftyMegabytes(t *testing.T) {
	const size, maxMemory = 50 << 20, 1 << 20
	bounded := *opUserList
	bounded.MaxBody = 8 << 20
	calls := map[string]func(*Client) error{
		"UserList": func(c *Client) error {
			_, _, err := call(t.Context(), c, newEnvelope(&bounded, 0), userList(maxMemory))
			return err
		},
		"UserGetAPIKey": func(c *Client) error {
			_, err := c.UserGetAPIKey(t.Context(), session, 5001)
			return err
		},
	}
	head, tail, _ := strings.Cut(response("UserList", "<UserListResult>|</UserListResult>"), "|")
	user := func(login string) string {
		return strings.Replace("<UserIDInfo>"+userInfo+"</UserIDInfo>", "jo", login, 1)
	}
	bodies := map[string]largeBody{
		"one text":        {head: head + "<UserIDInfo><LoginName>", unit: strings.Repeat("x", 1<<10)},
		"one CDATA":       {head: head + "<UserIDInfo><LoginName><![CDATA[", unit: strings.Repeat("<", 1<<10)},
		"one comment":     {head: head + "<!--", unit: strings.Repeat("<", 1<<10)},
		"one DTD":         {head: "<!DOCTYPE a [", unit: "<!ENTITY b '" + strings.Repeat("c", 1<<10) + "'>"},
		"one instruction": {head: "<?a ", unit: strings.Repeat("<", 1<<10)},
		"one tag":         {head: head + "<UserIDInfo", unit: " a='" + strings.Repeat("x", 1<<10) + "'"},
		"one name":        {head: head + "<", unit: strings.Repeat("x", 1<<10)},
		"many texts":      {head: head + "<UserIDInfo><LoginName>", unit: "<![CDATA[" + strings.Repeat("x", 1<<10) + "]]>"},
		"deep":            {head: head, unit: "<a>"},
		"white space":     {unit: strings.Repeat(" ", 1<<10)},
		"space and tags":  {head: head, unit: strings.Repeat(" ", 1<<10) + "<a/>"},
		"nil users":       {head: head, unit: "<UserIDInfo xmlns:xsi='" + nsXSI + "' xsi:nil='true'>" + strings.Repeat(" ", 1<<10) + "</UserIDInfo>", tail: tail},
		"unknown fields":  {head: head + "<UserIDInfo>" + userInfo, unit: "<More>" + strings.Repeat("x", 1<<10) + "</More>", tail: "</UserIDInfo>" + tail},
		"one fault":       {head: "<soap:Envelope xmlns:soap='" + nsSOAP11 + "'><soap:Body><soap:Fault><detail>", unit: "<ErrorCode>" + strings.Repeat("x", 1<<10) + "</ErrorCode>"},
		"users":           {head: head, unit: user("jo"), tail: tail},
		"users, long":     {head: head, unit: user(strings.Repeat("x", 60<<10)), tail: tail},
	}
	// Fill the 4 MiB of heap below which the garbage collector does not start: only growth
	// above that counts.
	for range 64 << 10 {
		garbage = make([]byte, 1<<10)
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			body.units = size / len(body.unit)
			c := serveFor(t, 5*time.Minute, body.send) // also on a busy machine
			for name, call := range calls {
				grown, allocated := measureHeap(func() { wantFailure(t, call(c), ecgrid.ErrBadAnswer) })
				most := int64(5 << 20)
				if strings.Contains(body.unit, "</UserIDInfo>") { // valid users are held for a while
					most += maxMemory
				}
				if grown > most {
					t.Errorf("%s: the heap grew by %d KiB", name, grown>>10)
				}
				if name == "UserGetAPIKey" && allocated > 1<<20 {
					t.Errorf("%s: allocated %d KiB", name, allocated>>10)
				}
			}
		})
	}
}

// mostUsers is how many users a list must be able to hold.
const mostUsers = 100_000

// The longest list is complete, and takes its memory about once. Not parallel: it measures
// the process.
func TestHundredThousandUsers(t *testing.T) {
	name := strings.Repeat("n", 50)
	head, tail, _ := strings.Cut(response("UserList", "<UserListResult>|</UserListResult>"), "|")
	c := serveFor(t, 5*time.Minute, func(w http.ResponseWriter, r *http.Request) { // also on a busy machine
		io.Copy(io.Discard, r.Body)
		out := bufio.NewWriterSize(w, 32<<10)
		out.WriteString(head)
		for i := range mostUsers {
			fmt.Fprintf(out, "\n  <UserIDInfo><UserID>%d</UserID><LoginName>%s%d</LoginName><NetworkID>7</NetworkID>"+
				"<MailboxID>8</MailboxID><Status>Active</Status></UserIDInfo>", i+1, name, i+1)
		}
		out.WriteString(tail)
		out.Flush()
	})
	var users []ecgrid.User
	var err error
	grown, _ := measureHeap(func() { users, err = c.UserList(t.Context(), session) })
	if err != nil || len(users) != mostUsers {
		t.Fatalf("got %d users, %v", len(users), err)
	}
	for i, u := range users {
		want := ecgrid.User{UserID: int32(i + 1), LoginName: name + strconv.Itoa(i+1), NetworkID: 7, MailboxID: 8, Status: "Active"}
		if u != want {
			t.Fatalf("got %+v, want %+v", u, want)
		}
	}
	if grown > 2*ecgrid.MaxListMemory {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
}

// The limit of the body suffices for that many users with long texts.
func TestListLimitSuffices(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	record := "\r\n      <UserIDInfo>"
	for _, name := range []string{"LoginName", "RecoveryQuestion", "FirstName", "LastName", "Company", "EMail", "Phone", "CellPhone"} {
		record += "\r\n        <" + name + ">" + long + "</" + name + ">"
	}
	for field := range strings.SplitSeq(userInfo, "</") {
		record += "\r\n        " + field
	}
	record += "\r\n      </UserIDInfo>"
	if need := mostUsers * len(record); need > maxListBody {
		t.Errorf("%d users of %d bytes each are %d MiB, the bound is %d", mostUsers, len(record), need>>20, maxListBody>>20)
	}
}
