//! Prometheus' text format, version 0.0.4.
//!
//! Comes in: families and samples, one family after the other. Goes out: text, piece by piece. Does not know about what
//! is measured.

use crate::pieces::Pieces;
use std::fmt::Display;
use std::io::Write;

/// Type of a metric: a value that only grows, or one that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Grows, and starts at 0 when the process does.
    Counter,
    /// Says something by its labels.
    Untyped,
    /// Sizes by bucket.
    Histogram,
}

/// A document that is being written.
pub struct Text<'a> {
    out: &'a mut Pieces,
    family: String,
}

impl<'a> Text<'a> {
    /// Begins to write.
    pub fn new(out: &'a mut Pieces) -> Self {
        let family = String::new();
        Self { out, family }
    }

    /// True if nobody reads on: the rest may be left out.
    pub fn is_closed(&self) -> bool {
        self.out.is_closed()
    }

    /// Starts a family.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Untyped => "untyped",
            Kind::Histogram => "histogram",
        };
        // Writing to memory doesn't fail.
        let _ = writeln!(self.out, "# TYPE {name} {kind}\n# HELP {name} {help}");
        name.clone_into(&mut self.family);
    }

    /// A sample of the current family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    /// A histogram: the numbers of each bucket, whose bounds are texts, and the sum of all sizes.
    pub fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        (bounds, numbers): (&[String], &[u64]),
        sum: u64,
    ) {
        self.family(name, Kind::Histogram, help);
        let mut all = 0;
        for (bound, number) in bounds.iter().zip(numbers) {
            all += number;
            let labels = [labels, &[("le", bound.as_str())]].concat();
            self.sample_of("_bucket", &labels, all);
        }
        self.sample_of("_count", labels, all);
        self.sample_of("_sum", labels, sum);
    }

    fn sample_of(&mut self, end: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.pause();
        self.out.put(self.family.as_bytes());
        self.out.put(end.as_bytes());
        for (at, (name, label)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { b'{' } else { b',' });
            self.out.put(name.as_bytes());
            self.out.put(b"=\"");
            escape(self.out, label);
            self.out.push(b'"');
        }
        if !labels.is_empty() {
            self.out.push(b'}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// A family of one sample without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(&[], value);
    }

    /// A family of one sample without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help);
        self.sample(&[], value);
    }
}

fn escape(out: &mut Pieces, label: &str) {
    for byte in label.bytes() {
        match byte {
            b'\\' => out.put(b"\\\\"),
            b'"' => out.put(b"\\\""),
            b'\n' => out.put(b"\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut out = Pieces::whole();
        let mut text = Text::new(&mut out);
        text.family("a_total", Kind::Counter, "As");
        text.sample(&[("queue", "x\"\\\n"), ("vhost", "/")], 1.5);
        text.gauge("b", "Bs", 2);
        let expected = "# TYPE a_total counter\n# HELP a_total As\na_total{queue=\"x\\\"\\\\\\n\",vhost=\"/\"} 1.5\n\
                        # TYPE b gauge\n# HELP b Bs\nb 2\n";
        assert_eq!(String::from_utf8_lossy(&out.into_rest()), expected);
    }
}
