package agent

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets all tests run at once. They wait most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "10"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
