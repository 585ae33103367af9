// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"fmt"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// settle is how long Agent waits for further changes before a restart.
const settle = 2 * time.Second

// application is one that Agent starts with the key in its environment.
type application struct {
	*program
	starts func() []string // "pid key"
}

func (a application) last() (pid int, key string) {
	lines := a.starts()
	_, _ = fmt.Sscan(lines[len(lines)-1], &pid, &key)
	return pid, key
}

func (a application) key() string {
	_, key := a.last()
	return key
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	w := consumertest.Start(t, ttl)
	a := application{program: newProgramOfREADME(t, w, "agent/environment.hcl")}
	a.starts = a.command("edi-gateway", `trap 'exit 0' TERM; printf '%s %s\n' $$ "$ECGrid__ApiKey"`,
		`while :; do sleep 0.1; done`)
	a.replace("/usr/local/bin/edi-gateway", a.dir+"/bin/edi-gateway")
	a.start("agent")
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Agent, environment", Version: version(t, w), Arrives: "`ECGrid__ApiKey`, by a restart",
		Key: a.key, Within: ttl + time.Second + settle,
		Note: "`ttl` 3 s. Agent restarts the application two seconds after a change, once for each key",
	})
	if starts := len(a.starts()); starts != measuredKeys {
		t.Errorf("the application was started %d times for %d keys", starts, measuredKeys)
	}
	if pid, _ := a.last(); !vaulttest.Alive(pid) {
		t.Error("the application does not run")
	}
}
