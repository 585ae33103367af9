// SPDX-License-Identifier: MPL-2.0

package main

import (
	"gonum.org/v1/plot/plotter"

	"vault-plugin-ecgrid/bench/internal/stat"
)

// maxPoints is how many points a line has at most.
const maxPoints = 360

// thin replaces intervals of points by their medians.
func thin(points plotter.XYs, most int) plotter.XYs {
	size := (len(points) + most - 1) / most
	if size <= 1 {
		return points
	}
	var thinned plotter.XYs
	for from := 0; from < len(points); from += size {
		part := points[from:min(from+size, len(points))]
		values := make([]float64, len(part))
		for i, point := range part {
			values[i] = point.Y
		}
		thinned = append(thinned, plotter.XY{X: part[len(part)/2].X, Y: stat.Of(values).Median})
	}
	return thinned
}
