// SPDX-License-Identifier: MPL-2.0

// The soak test builds the plugin with this file in addition, by go build -overlay. No
// other build of the plugin has it.
package main

import (
	"fmt"
	"os"
	"runtime/metrics"
	"time"
)

func init() { go reportRuntime() }

// reportRuntime writes the number of goroutines and the bytes that the last garbage
// collection found live into a file beside the binary, which has the PID in its name.
func reportRuntime() {
	binary, err := os.Executable()
	if err != nil {
		return
	}
	path := fmt.Sprintf("%s.%d.probe", binary, os.Getpid())
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/gc/heap/live:bytes"}}
	for ; ; time.Sleep(200 * time.Millisecond) {
		metrics.Read(samples)
		text := fmt.Sprintln(samples[0].Value.Uint64(), samples[1].Value.Uint64())
		if os.WriteFile(path+".new", []byte(text), 0o600) == nil {
			_ = os.Rename(path+".new", path) // a reader never sees half of it
		}
	}
}
