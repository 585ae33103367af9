// Command vault-plugin-ecgrid is the Vault secrets engine for ECGrid API keys.
// Vault starts it; see README.md for how to register it.
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/plugin"

	ecgrid "vault-plugin-ecgrid"
	"vault-plugin-ecgrid/backend"
	api "vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/soap"
)

// Set by the linker. The version has to be vX.Y.Z, and the one it is registered with.
var (
	version = "v0.0.0"
	commit  = "unknown"
)

// parentPoll is how often it is checked that Vault still runs.
const parentPoll = time.Second

func main() {
	showVersion := flag.Bool("version", false, "print version and commit, and exit")
	flag.Parse()
	if *showVersion {
		fmt.Println("vault-plugin-ecgrid", version, commit)
		return
	}
	os.Exit(serve())
}

func serve() int {
	// net/http prints what a server sends unasked, an API key for instance, through
	// this logger, and go-plugin hands that on to Vault's log.
	log.SetOutput(io.Discard)
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	p := &ecgrid.Plugin{
		Version: version,
		Commit:  commit,
		Connect: func(e api.Endpoint) (api.Client, error) { return soap.Connect(e) },
		Clock:   backend.SystemClock{},
		Random:  rand.Reader,
	}
	go exitWhenAsked(p)
	err := plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: p.Factory, Logger: logger})
	p.Close()
	if err != nil {
		logger.Error("serving the plugin failed", "error", err)
		return 1
	}
	return 0
}

// exitWhenAsked logs out and ends the process on SIGTERM, and when Vault is gone:
// an orphaned plugin would keep its ECGrid sessions open for good.
func exitWhenAsked(p *ecgrid.Plugin) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	orphaned := make(chan struct{})
	go waitForOrphanage(orphaned)
	select {
	case <-term:
	case <-orphaned:
	}
	p.Close()
	os.Exit(0)
}

func waitForOrphanage(orphaned chan<- struct{}) {
	parent := os.Getppid()
	for range time.Tick(parentPoll) {
		if os.Getppid() != parent {
			close(orphaned)
			return
		}
	}
}
