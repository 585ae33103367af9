// SPDX-License-Identifier: MPL-2.0

// Command vault-plugin-ecgrid is the Vault secrets engine for ECGrid API keys. Vault
// starts it. README.md tells how to register it.
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
	"vault-plugin-ecgrid/internal/ecgrid/clients"
)

// The linker sets these. The version must have the form vX.Y.Z and match the version
// that the plugin is registered with.
var (
	version = "v0.0.0"
	commit  = "unknown"
)

// parentPollInterval is how often the plugin checks that Vault is still running.
const parentPollInterval = time.Second

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
	// net/http logs unsolicited server responses, which may contain an API key, to the
	// standard logger. go-plugin would forward that to Vault's log.
	log.SetOutput(io.Discard)
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	p := &ecgrid.Plugin{
		Version: version,
		Commit:  commit,
		Connect: clients.Connect,
		Clock:   backend.SystemClock{},
		Random:  rand.Reader,
	}
	go exitOnShutdown(p)
	err := plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: p.Factory, Logger: logger})
	p.Close()
	if err != nil {
		logger.Error("serving the plugin failed", "error", err)
		return 1
	}
	return 0
}

// exitOnShutdown logs out and ends the process on SIGTERM, and when Vault has exited.
// Without it, an orphaned plugin would keep its ECGrid sessions open.
func exitOnShutdown(p *ecgrid.Plugin) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	parentExited := make(chan struct{})
	go waitForParentExit(parentExited)
	select {
	case <-term:
	case <-parentExited:
	}
	p.Close()
	os.Exit(0)
}

// waitForParentExit closes the channel when the process gets another parent.
func waitForParentExit(exited chan<- struct{}) {
	parent := os.Getppid()
	for range time.Tick(parentPollInterval) {
		if os.Getppid() != parent {
			close(exited)
			return
		}
	}
}
