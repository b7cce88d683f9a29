//! Plots as SVG, without a background and in colours that are seen on light and dark pages.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::figures::Figures;

const SIZE: (u32, u32) = (880, 420);
const GREY: RGBColor = RGBColor(128, 134, 142);
/// In the order of the curves.
const COLOURS: &[RGBColor] = &[
    RGBColor(56, 139, 253),
    RGBColor(219, 109, 40),
    RGBColor(46, 160, 67),
    RGBColor(163, 113, 247),
    RGBColor(219, 55, 81),
    RGBColor(0, 150, 150),
    RGBColor(176, 137, 0),
    RGBColor(200, 90, 170),
];

/// Curves over a common axis: distributions, or how one thing grows with another.
#[derive(Clone, Debug)]
pub struct Plot {
    title: String,
    x: String,
    y: String,
    log_x: bool,
    log_y: bool,
    curves: Vec<(String, Vec<(f64, f64)>)>,
    /// Upright lines.
    marks: Vec<(String, f64)>,
}

impl Plot {
    /// Of curves made by `line`.
    pub fn new(title: &str, x: &str, y: &str) -> Self {
        Self {
            title: title.to_owned(),
            x: x.to_owned(),
            y: y.to_owned(),
            log_x: false,
            log_y: false,
            curves: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Of curves made by `distribution`.
    pub fn of_distributions(title: &str, x: &str) -> Self {
        Self::new(title, x, "share of all at or below")
    }

    #[must_use]
    pub fn log_x(self) -> Self {
        Self { log_x: true, ..self }
    }

    #[must_use]
    pub fn log_y(self) -> Self {
        Self { log_y: true, ..self }
    }

    /// The share of figures at or below each value.
    pub fn distribution(&mut self, name: impl Into<String>, figures: &Figures) {
        let count = figures.len() as f64;
        let sorted = figures.sorted();
        let steps = sorted.iter().enumerate().flat_map(|(index, &value)| {
            [(value, index as f64 / count), (value, (index + 1) as f64 / count)]
        });
        self.line(name, steps.collect());
    }

    /// Points in the order they are joined.
    pub fn line(&mut self, name: impl Into<String>, points: Vec<(f64, f64)>) {
        if !points.is_empty() {
            self.curves.push((name.into(), points));
        }
    }

    /// An upright line at `x`, a limit for instance.
    pub fn mark(&mut self, name: impl Into<String>, x: f64) {
        self.marks.push((name.into(), x));
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// # Panics
    /// If it has no curves.
    pub(super) fn to_svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|(_, points)| points);
        let xs = points().map(|it| it.0).chain(self.marks.iter().map(|it| it.1));
        let x = range(xs, self.log_x);
        let y = range(points().map(|it| it.1), self.log_y);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            match (self.log_x, self.log_y) {
                (false, false) => self.draw(&area, x.clone(), y.clone(), (x, y)),
                (true, false) => self.draw(&area, x.clone().log_scale(), y.clone(), (x, y)),
                (false, true) => self.draw(&area, x.clone(), y.clone().log_scale(), (x, y)),
                (true, true) => {
                    self.draw(&area, x.clone().log_scale(), y.clone().log_scale(), (x, y))
                }
            }
            .expect("a string takes all of it");
        }
        svg
    }

    fn draw<X, Y>(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        x: impl AsRangedCoord<CoordDescType = X, Value = f64>,
        y: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
        (_, height): (std::ops::Range<f64>, std::ops::Range<f64>),
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let font = |size: i32| ("sans-serif", size).into_font().color(&GREY);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .axis_style(GREY)
            .bold_line_style(GREY.mix(0.35))
            .light_line_style(TRANSPARENT)
            .label_style(font(13))
            .axis_desc_style(font(14))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (name, at) in &self.marks {
            let line = [(*at, height.start), (*at, height.end)];
            chart.draw_series(LineSeries::new(line, GREY.stroke_width(2)))?;
            let text = Text::new(name.clone(), (*at, height.end), font(13));
            chart.draw_series(std::iter::once(text))?;
        }
        for ((name, points), colour) in self.curves.iter().zip(COLOURS.iter().cycle()) {
            let colour = *colour;
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(font(13))
            .border_style(GREY.mix(0.5))
            .margin(8)
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// All of them, and a little room.
fn range(values: impl Iterator<Item = f64>, log: bool) -> std::ops::Range<f64> {
    let values = values.filter(|it| !log || *it > 0.0);
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
    assert!(low.is_finite(), "a plot has curves");
    if log {
        low / 1.1..high * 1.1
    } else {
        let room = ((high - low) * 0.04).max(f64::EPSILON);
        low - room..high + room
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_can_be_drawn_and_names_what_it_shows() {
        let figures: Figures = (1..=50).map(f64::from).collect();
        for plot in [
            Plot::of_distributions("cut to verdict", "ms"),
            Plot::of_distributions("cut to verdict", "ms").log_x(),
            Plot::new("cost", "NICs", "ms").log_y(),
            Plot::new("cost", "NICs", "ms").log_x().log_y(),
        ] {
            let mut plot = plot;
            plot.distribution("idle", &figures);
            plot.mark("FDT", 60.0);
            let svg = plot.to_svg();
            assert!(svg.contains("idle") && svg.contains("FDT"), "{svg}");
            assert!(svg.contains(plot.title()), "{svg}");
        }
    }
}
