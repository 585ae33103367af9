// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"

	"gonum.org/v1/plot/plotter"
)

// measured is a run of the soak test.
type measured struct {
	series map[string]plotter.XYs // by figure; X is minutes
	phases []float64              // when a phase began, in minutes, without the first
}

// The first columns. The others are figures.
const (
	columnSeconds = iota
	columnPhase
	firstFigure
)

var errNoSamples = errors.New("no samples")

func read(r io.Reader) (measured, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return measured{}, err
	}
	if len(rows) < 2 || len(rows[0]) <= firstFigure {
		return measured{}, errNoSamples
	}
	m := measured{series: map[string]plotter.XYs{}}
	names, phase := rows[0], rows[1][columnPhase]
	for i, row := range rows[1:] {
		seconds, err := strconv.ParseFloat(row[columnSeconds], 64)
		if err != nil {
			return m, fmt.Errorf("sample %d: %w", i+1, err)
		}
		minutes := seconds / 60
		if row[columnPhase] != phase {
			phase, m.phases = row[columnPhase], append(m.phases, minutes)
		}
		for column := firstFigure; column < len(row); column++ {
			if row[column] == "" {
				continue // not measured
			}
			value, err := strconv.ParseFloat(row[column], 64)
			if err != nil {
				return m, fmt.Errorf("sample %d: %w", i+1, err)
			}
			m.series[names[column]] = append(m.series[names[column]], plotter.XY{X: minutes, Y: value})
		}
	}
	return m, nil
}
