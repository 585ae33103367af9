// SPDX-License-Identifier: MPL-2.0

package promtest

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// The sizes of the picture, in pixels.
const (
	column   = 46 // of the 24 columns of a dashboard
	gridRow  = 26
	gap      = 8
	headline = 28
	axis     = 52 // left of a graph
	legend   = 48 // below a graph, with the times
)

var colors = []string{"#3274d9", "#e0752d", "#56a64b", "#a352cc", "#e02f44", "#f2cc0c", "#37a2a2", "#8f6b4a"}

// Draw evaluates all panels of a dashboard and draws them as SVG.
func Draw(p *Server, d Dashboard, from, to time.Time) ([]byte, error) {
	var svg bytes.Buffer
	bottom := 0
	for _, panel := range d.Panels {
		bottom = max(bottom, panel.GridPos.Y+panel.GridPos.H)
	}
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="Arial,Helvetica,sans-serif" font-size="11">`+"\n", 24*column, bottom*gridRow)
	fmt.Fprintln(&svg, `<rect width="100%" height="100%" fill="#f4f5f5"/>`)
	for _, panel := range d.Panels {
		g := panel.GridPos
		a := area{x: g.X*column + gap/2, y: g.Y*gridRow + gap/2, w: g.W*column - gap, h: g.H*gridRow - gap}
		fmt.Fprintf(&svg, `<rect x="%d" y="%d" width="%d" height="%d" rx="3" fill="#fff" stroke="#dcdcdc"/>`+"\n", a.x, a.y, a.w, a.h)
		text(&svg, a.x+8, a.y+15, "start", "#222", panel.Title)
		lines, err := evaluate(p, panel, from, to)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", panel.Title, err)
		}
		if panel.Type == "stat" {
			a.drawValues(&svg, panel, lines)
		} else {
			a.drawGraph(&svg, panel, lines, from, to)
		}
	}
	fmt.Fprintln(&svg, "</svg>")
	return svg.Bytes(), nil
}

// line is one series of a panel.
type line struct {
	name   string
	points []point
}

func evaluate(p *Server, panel Panel, from, to time.Time) (lines []line, err error) {
	for _, target := range panel.Targets {
		series, err := p.QueryRange(target.Query("5s"), from, to)
		if err != nil {
			return nil, err
		}
		for _, s := range series {
			points := slices.DeleteFunc(s.Values, func(v point) bool { return math.IsNaN(v.Value) })
			lines = append(lines, line{target.Legend(s.Labels), points})
		}
	}
	return lines, nil
}

// area is where a panel is drawn.
type area struct{ x, y, w, h int }

func text(svg *bytes.Buffer, x, y int, anchor, color, content string) {
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, color, html.EscapeString(content))
}

// drawValues draws the last value of each line.
func (a area) drawValues(svg *bytes.Buffer, panel Panel, lines []line) {
	var values []string
	for _, l := range lines {
		switch {
		case panel.Options.TextMode == "name":
			values = append(values, l.name)
		case len(l.points) > 0:
			values = append(values, strings.TrimSpace(format(l.points[len(l.points)-1].Value, panel.FieldConfig.Defaults.Unit)+" "+l.name))
		}
	}
	if len(values) == 0 {
		values = []string{"none"}
	}
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="middle" fill="#1f60c4" font-size="17">%s</text>`+"\n", a.x+a.w/2, a.y+a.h/2+14, html.EscapeString(strings.Join(values, ", ")))
}

// drawGraph draws the lines over time.
func (a area) drawGraph(svg *bytes.Buffer, panel Panel, lines []line, from, to time.Time) {
	plot := area{a.x + axis, a.y + headline, a.w - axis - 10, a.h - headline - legend}
	low, high := 0., 0.
	for _, l := range lines {
		for _, v := range l.points {
			low, high = min(low, v.Value), max(high, v.Value)
		}
	}
	step := tickStep((high - low) / 4)
	low, high = math.Floor(low/step)*step, math.Ceil(high/step)*step
	y := func(v float64) float64 { return float64(plot.y) + float64(plot.h)*(high-v)/(high-low) }
	x := func(at time.Time) float64 {
		return float64(plot.x) + float64(plot.w)*at.Sub(from).Seconds()/to.Sub(from).Seconds()
	}
	for v := low; v < high+step/2; v += step {
		fmt.Fprintf(svg, `<path d="M%d %.1fh%d" stroke="#e4e4e4"/>`+"\n", plot.x, y(v), plot.w)
		text(svg, plot.x-5, int(y(v))+4, "end", "#666", format(v, panel.FieldConfig.Defaults.Unit))
	}
	for s := 0; s <= int(to.Sub(from).Seconds()); s += 30 {
		text(svg, int(x(from.Add(time.Duration(s)*time.Second))), plot.y+plot.h+13, "middle", "#666", fmt.Sprintf("%d s", s))
	}
	atX, atY := plot.x, plot.y+plot.h+27
	for i, l := range lines {
		color := colors[i%len(colors)]
		l.draw(svg, color, x, y)
		width := 30 + 6*len(l.name)
		if atX+width > a.x+a.w {
			atX, atY = plot.x, atY+14
		}
		fmt.Fprintf(svg, `<rect x="%d" y="%d" width="12" height="3" fill="%s"/>`+"\n", atX, atY-5, color)
		text(svg, atX+16, atY, "start", "#222", l.name)
		atX += width
	}
}

// draw draws a line, with gaps where there are no values.
func (l line) draw(svg *bytes.Buffer, color string, x func(time.Time) float64, y func(float64) float64) {
	var path strings.Builder
	var last time.Time
	for _, v := range l.points {
		command := "L"
		if v.At.Sub(last) > 2*time.Second {
			command = "M"
		}
		last = v.At
		fmt.Fprintf(&path, "%s%.1f %.1f", command, x(v.At), y(v.Value))
	}
	fmt.Fprintf(svg, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5" stroke-linecap="round"/>`+"\n", path.String(), color)
}

// tickStep returns 1, 2 or 5 times a power of ten that is at least so much.
func tickStep(least float64) float64 {
	if least <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least {
			return factor * power
		}
	}
	return 10 * power
}

// units are the units of Grafana that the dashboard uses.
var units = map[string]string{"cps": "/s", "reqps": "/s"}

func format(v float64, unit string) string {
	if unit != "s" {
		return fmt.Sprintf("%.4g", v) + units[unit]
	}
	switch size := math.Abs(v); {
	case size >= 2*3600:
		return fmt.Sprintf("%.3g h", v/3600)
	case size >= 120:
		return fmt.Sprintf("%.3g min", v/60)
	case size < 1 && size > 0:
		return fmt.Sprintf("%.3g ms", v*1000)
	}
	return fmt.Sprintf("%.3g s", v)
}
