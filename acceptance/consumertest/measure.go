// SPDX-License-Identifier: MPL-2.0

package consumertest

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	// outage is how long ECGrid and Vault are down.
	outage = 4 * time.Second
	// patience is how long a consumer may take for what is not measured.
	patience = 60 * time.Second
	// Slack is the time that a busy machine may add to what a test measures.
	Slack = 10 * time.Second
)

// Consumer is a program, run by its own code, that brings the user's key to an application.
type Consumer struct {
	Name    string // with the path that it reads, such as "Vault Agent, static-creds"
	Version string // of the code that runs
	Arrives string // how the key reaches the application
	// Key returns the key that the application has now, and "" if it has none.
	Key func() string
	// Within is the longest time until the application has a replaced key, as the
	// documentation says. Measure adds Slack.
	Within time.Duration
	// Note is what else the test has shown.
	Note string
}

// Measure runs a consumer through a rotation, an outage of ECGrid and one of Vault, and
// reports its row. The key is replaced during each outage, as ECGrid's own administrators
// could do. The application must never be without a key.
func (w *World) Measure(t testing.TB, c Consumer) {
	t.Helper()
	w.await(t, c, "the start", patience)
	w.Rotate(t)
	noticed := w.await(t, c, "a rotation", c.Within+Slack)
	afterECGrid := w.outlive(t, c, "ECGrid", w.ECGridDown)
	afterVault := w.outlive(t, c, "Vault", func() func() { return w.VaultDown(t) })
	Row{
		Consumer: c.Name, Version: c.Version, Arrives: c.Arrives, Noticed: Rounded(noticed),
		ECGridDown: "keeps its key; new key after " + Rounded(afterECGrid),
		VaultDown:  "keeps its key; new key after " + Rounded(afterVault),
		Note:       c.Note,
	}.Report(t)
}

// outlive takes something down, and returns how long after its return the application has
// the key that was replaced in the meantime.
func (w *World) outlive(t testing.TB, c Consumer, what string, down func() (up func())) time.Duration {
	t.Helper()
	before := w.Key()
	up := down()
	w.Grid.ReplaceKey(UserID)
	for end := time.Now().Add(outage); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if c.Key() != before {
			t.Fatalf("%s: the application has lost its key while %s is down", c.Name, what)
		}
	}
	up()
	return w.await(t, c, "an outage of "+what, patience)
}

// await waits until the application has the current key. Until then it has the one before.
func (w *World) await(t testing.TB, c Consumer, after string, within time.Duration) time.Duration {
	t.Helper()
	began, had := time.Now(), c.Key() != ""
	for time.Since(began) < within {
		switch key := c.Key(); {
		case key == w.Key():
			return time.Since(began)
		case key == "" && had:
			t.Fatalf("%s: the application has no key after %s", c.Name, after)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s: the application does not have the current key %v after %s", c.Name, within, after)
	return 0
}

// Rounded is a measured time, as the table shows it.
func Rounded(d time.Duration) string {
	if d < 100*time.Millisecond {
		return "< 0.1 s"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Row is a row of the table in docs/consumers.md.
type Row struct {
	Consumer, Version, Arrives     string
	Noticed, ECGridDown, VaultDown string
	Note                           string
}

// ReportVariable names the file to which each row is appended. scripts/consumers.sh sets it
// and prints the table.
const ReportVariable = "ECGRID_CONSUMERS_REPORT"

// Report logs the row and appends it to the report.
func (r Row) Report(t testing.TB) {
	t.Helper()
	cells := []string{r.Consumer, r.Version, r.Arrives, r.Noticed, r.ECGridDown, r.VaultDown, r.Note}
	for i, cell := range cells {
		cells[i] = cmp.Or(cell, "–")
	}
	line := "| " + strings.Join(cells, " | ") + " |\n"
	t.Log(line)
	path := os.Getenv(ReportVariable)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line); err != nil {
		t.Fatal(err)
	}
}

// NotRun reports that a consumer could not be run, and skips the test.
func NotRun(t testing.TB, consumer, why string) {
	t.Helper()
	Row{Consumer: consumer, Version: "not run: " + why}.Report(t)
	t.Skip(consumer, "is not run:", why)
}
