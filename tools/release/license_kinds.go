// SPDX-License-Identifier: MPL-2.0

package main

import (
	"slices"
	"strings"
)

// license is how a license text is recognized: it has all phrases of has, and none of lacks.
type license struct {
	id         string // SPDX identifier
	has, lacks []string
}

// neverReleased are licenses that docs/dependencies.md allows for tests only.
var neverReleased = []string{"BUSL-1.1"}

// knownLicenses recognizes a text by phrases that it must have. This tells the licenses of
// our dependencies apart. It is no legal advice. The phrases are in lower case with single
// spaces.
var knownLicenses = []license{
	{id: "Apache-2.0", has: []string{"apache license", "version 2.0, january 2004"}},
	{id: "Apache-2.0", has: []string{"licensed under the apache license, version 2.0"}},
	{id: "BSD-2-Clause", has: []string{redistribution}, lacks: []string{endorse}},
	{id: "BSD-3-Clause", has: []string{redistribution, endorse}, lacks: []string{"all advertising materials"}},
	{id: "BUSL-1.1", has: []string{"business source license", "change license"}},
	{id: "CC-BY-SA-4.0", has: []string{"attribution-sharealike 4.0 international"}},
	{id: "ISC", has: []string{"permission to use, copy, modify, and", "for any purpose with or without fee"}},
	{id: "MIT", has: []string{"permission is hereby granted, free of charge", "the above copyright notice and this permission notice"}},
	{id: "MPL-2.0", has: []string{"mozilla public license, version 2.0", "covered software"}},
	{id: "MPL-2.0", has: []string{"mozilla public license version 2.0", "covered software"}},
}

const (
	redistribution = "redistribution and use in source and binary forms, with or without modification"
	endorse        = "endorse or promote products"
)

// licensesIn returns the SPDX identifiers of the licenses in a text, sorted.
func licensesIn(text []byte) (ids []string) {
	plain := strings.Join(strings.Fields(strings.ToLower(string(text))), " ")
	contains := func(phrase string) bool { return strings.Contains(plain, phrase) }
	for _, known := range knownLicenses {
		all := !slices.ContainsFunc(known.has, func(phrase string) bool { return !contains(phrase) })
		if all && !slices.ContainsFunc(known.lacks, contains) {
			ids = append(ids, known.id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
