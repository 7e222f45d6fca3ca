//! Prometheus' text format, version 0.0.4.
//!
//! Comes in: families and samples, one family after the other. Goes out: text. Does not know about what is measured.

use std::fmt::{Display, Write};

/// Type of a metric: a value that only grows, or one that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Grows, and starts at 0 when the process does.
    Counter,
    /// Says something by its labels.
    Untyped,
}

/// A document that is being written.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
    family: String,
}

impl Text {
    /// Starts a family.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Untyped => "untyped",
        };
        // Writing to a string doesn't fail.
        let _ = writeln!(self.out, "# TYPE {name} {kind}\n# HELP {name} {help}");
        name.clone_into(&mut self.family);
    }

    /// A sample of the current family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(&self.family);
        for (at, (name, label)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, label);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
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

    /// The document.
    pub fn finish(self) -> String {
        self.out
    }
}

fn escape(out: &mut String, label: &str) {
    for character in label.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "As");
        text.sample(&[("queue", "x\"\\\n"), ("vhost", "/")], 1.5);
        text.gauge("b", "Bs", 2);
        let expected = "# TYPE a_total counter\n# HELP a_total As\na_total{queue=\"x\\\"\\\\\\n\",vhost=\"/\"} 1.5\n\
                        # TYPE b gauge\n# HELP b Bs\nb 2\n";
        assert_eq!(text.finish(), expected);
    }
}
