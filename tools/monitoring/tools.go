// SPDX-License-Identifier: MPL-2.0

//go:build tools

// Package tools pins the Prometheus that the monitoring tests run, and its promtool. It is a
// module of its own, since nothing of it belongs into the plugin.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
