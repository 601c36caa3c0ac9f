//! Plots as SVG files, in colours that can be seen on white and on black.

use std::{fmt::Write as _, fs, path::Path};

/// Lines over a logarithmic axis.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    /// What grows.
    pub(crate) across: &'a str,
    pub(crate) lines: Vec<Line<'a>>,
}

/// What was measured of one kind: how many there were, and nanoseconds.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(u64, f64)>,
}

impl Plot<'_> {
    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, self.svg()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let most = points().map(|(_, ns)| *ns).fold(0.0, f64::max);
        let step = step(most);
        let top = (most / step).ceil() * step;
        let first = points().map(|(count, _)| place(*count)).fold(f64::MAX, f64::min);
        let last = points().map(|(count, _)| place(*count)).fold(0.0, f64::max);
        let x = |count: u64| LEFT + (place(count) - first) / (last - first) * (RIGHT - LEFT);
        let y = |ns: f64| BOTTOM - ns / top * (BOTTOM - TOP);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"{GREY}\">\n<title>{}</title>\n",
            self.title
        );
        let text = |x: f64, y: f64, anchor: &str, colour: &str, text: &str| {
            let place = format!("x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\" fill=\"{colour}\"");
            format!("<text {place}>{text}</text>\n")
        };
        svg += &text(LEFT - 46.0, TOP - 34.0, "start", GREY, &format!("{}, in nanoseconds", self.title));
        svg += &text(f64::midpoint(LEFT, RIGHT), BOTTOM + 42.0, "middle", GREY, self.across);
        let mut mark = 0.0;
        while mark <= top {
            let y = y(mark);
            svg += &text(LEFT - 8.0, y + 4.0, "end", GREY, &format!("{mark:.0}"));
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.0}H{RIGHT}\" stroke=\"{GREY}\" stroke-opacity=\"0.35\"/>");
            mark += step;
        }
        let mut counts: Vec<u64> = points().map(|(count, _)| *count).collect();
        counts.sort_unstable();
        counts.dedup();
        for count in counts {
            svg += &text(x(count), BOTTOM + 20.0, "middle", GREY, &grouped(count));
        }
        let mut names = LEFT;
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let points = line.points.iter().map(|(count, ns)| format!("{:.1},{:.1}", x(*count), y(*ns)));
            let points: Vec<String> = points.collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
                points.join(" ")
            );
            for point in points {
                let (x, y) = point.split_once(',').expect("made above");
                let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"3.5\" fill=\"{colour}\"/>");
            }
            let _ = writeln!(svg, "<circle cx=\"{names:.0}\" cy=\"{:.0}\" r=\"4.5\" fill=\"{colour}\"/>", TOP - 16.0);
            svg += &text(names + 9.0, TOP - 12.0, "start", GREY, line.name);
            names += 34.0 + 6.8 * line.name.len() as f64;
        }
        svg + "</svg>\n"
    }
}

/// Where a count is on the axis: nothing is a step before one.
fn place(count: u64) -> f64 {
    if count == 0 { 0.0 } else { 1.0 + (count as f64).log10() }
}

/// From one mark of an axis to the next: three to seven are good to read.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 3.0).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|times| times * power).find(|step| most / step >= 3.0).unwrap_or(power)
}

/// With a space after each three digits.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 724.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 284.0;

const GREY: &str = "#808890";
const COLOURS: [&str; 3] = ["#3b82f6", "#e0762a", "#2ea56a"];
