//! Lists: which part of them, in which order, which columns.
//!
//! Comes in: the query of a URL, rows in the order of their names. Goes out: a JSON array, or RabbitMQ's page object
//! when `page` is asked for. Does not know about what the rows are.

use super::error::{Failure, Result};
use super::json::{self, Columns, Object};
use crate::metrics::history::{Kind, Of, Range, Ranges};
use crate::metrics::rates::Rates;
use crate::pattern::Pattern;
use crate::pieces::Pieces;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Rows of a page unless `page_size` says otherwise, and at most (RabbitMQ's figures).
const PAGE_SIZE: usize = 100;
const PAGE_SIZE_MAX: usize = 500;

/// Columns that a list is sorted by, at most: each is looked up in each row.
const MOST_SORTS: usize = 8;

/// Samples of a counter, at most (RabbitMQ's figure).
const MOST_SAMPLES: u64 = 500;

/// Parameters of a list.
#[derive(Debug, Default)]
pub struct Query {
    page: Option<Page>,
    sort: Vec<String>,
    sort_columns: Option<Columns>,
    sort_reverse: bool,
    columns: Option<Columns>,
    /// No counters, only what was declared (`disable_stats=true`).
    pub disable_stats: bool,
    ranges: Ranges,
    /// With `disable_stats`, the number of messages all the same (`enable_queue_totals=true`).
    pub queue_totals: bool,
}

#[derive(Debug)]
struct Page {
    number: usize,
    size: usize,
    name: Filter,
}

#[derive(Debug)]
enum Filter {
    All,
    Contains(String),
    /// A regular expression, as text: to compile it may take a while.
    Matches(String),
}

impl Filter {
    /// The test of names.
    fn keeps(&self) -> Box<dyn Fn(&str) -> bool + '_> {
        match self {
            Self::All => Box::new(|_| true),
            Self::Contains(part) => Box::new(move |name| name.to_lowercase().contains(part)),
            // As in RabbitMQ, what is no regular expression matches nothing.
            Self::Matches(text) => match pattern(text) {
                Ok(pattern) => Box::new(move |name| pattern.matches(name.as_bytes())),
                Err(_) => Box::new(|_| false),
            },
        }
    }
}

impl Query {
    /// Reads the parameters of a URL.
    ///
    /// # Errors
    /// 400 for a page that can't be, or a column nested too deep.
    pub fn parse(parameters: &HashMap<String, String>) -> Result<Self> {
        let get = |name: &str| {
            parameters
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
        };
        let is = |name: &str| get(name) == Some("true");
        let page = match get("page") {
            None => None,
            Some(number) => Some(Page::parse(
                number,
                get("page_size"),
                get("name").unwrap_or_default(),
                is("use_regex"),
            )?),
        };
        let sort: Vec<String> = get("sort")
            .map(|list| list.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        if sort.len() > MOST_SORTS {
            let text = format!(
                "a list is sorted by {MOST_SORTS} columns at most, not by {}",
                sort.len()
            );
            return Err(Failure::BadRequest(text));
        }
        Ok(Self {
            page,
            sort_columns: columns(&sort.join(","))?,
            sort,
            sort_reverse: is("sort_reverse"),
            columns: columns(get("columns").unwrap_or_default())?,
            ranges: ranges(get)?,
            disable_stats: is("disable_stats"),
            queue_totals: is("enable_queue_totals"),
        })
    }

    /// The same of a list that RabbitMQ gives no pages of.
    ///
    /// # Errors
    /// 400 for a column nested too deep.
    pub fn without_pages(parameters: &HashMap<String, String>) -> Result<Self> {
        let mut parameters = parameters.clone();
        parameters.remove("page");
        Self::parse(&parameters)
    }

    /// Has counters of an object come with their history, if that is asked for (`msg_rates_age=60&msg_rates_incr=5`).
    pub fn charts(&self, rates: &Rates, of: &Of, object: &mut Object<'_>) {
        self.charts_of(rates, of, false, object);
    }

    /// The same of an object in a list.
    pub fn charts_of_row(&self, rates: &Rates, of: &Of, object: &mut Object<'_>) {
        self.charts_of(rates, of, true, object);
    }

    fn charts_of(&self, rates: &Rates, of: &Of, is_listed: bool, object: &mut Object<'_>) {
        if self.ranges.iter().any(Option::is_some) && !self.disable_stats {
            object.chart(rates.charts(of, is_listed, &self.ranges));
        }
    }

    /// Which fields are wanted; all if `None`.
    pub fn columns(&self) -> Option<&Columns> {
        self.columns.as_ref()
    }

    /// Writes the list. The rows come sorted by vhost and name.
    ///
    /// # Errors
    /// 400 for a page behind the last one; then nothing has been written.
    pub fn list<T>(
        &self,
        out: &mut Pieces,
        mut rows: Vec<T>,
        name: impl for<'a> Fn(&'a T) -> Cow<'a, str>,
        write: impl Fn(&T, &mut Object<'_>),
    ) -> Result<()> {
        let total = rows.len();
        if let Some(page) = &self.page
            && !matches!(page.name, Filter::All)
        {
            let keeps = page.name.keeps();
            rows.retain(|row| keeps(&name(row)));
        }
        let filtered = rows.len();
        let rows = self.sorted(rows, &write);
        let Some(page) = &self.page else {
            self.array(out, &rows, &write);
            return Ok(());
        };
        let rows = page.of(&rows)?;
        let head = format!(
            "{{\"filtered_count\":{filtered},\"item_count\":{},\"items\":",
            rows.len()
        );
        out.put(head.as_bytes());
        self.array(out, rows, &write);
        let pages = filtered.div_ceil(page.size);
        let tail = format!(
            ",\"page\":{},\"page_count\":{pages},\"page_size\":{},\"total_count\":{total}}}",
            page.number, page.size
        );
        out.put(tail.as_bytes());
        Ok(())
    }

    fn array<T>(&self, out: &mut Pieces, rows: &[T], write: &impl Fn(&T, &mut Object<'_>)) {
        json::put_array(out, self.columns(), |list| {
            for row in rows {
                if list.is_closed() {
                    break;
                }
                list.object(|object| write(row, object));
            }
        });
    }

    fn sorted<T>(&self, mut rows: Vec<T>, write: &impl Fn(&T, &mut Object<'_>)) -> Vec<T> {
        if !self.sort.is_empty() {
            let key = |row: &T| -> Vec<Value> {
                let bytes = json::object(self.sort_columns.as_ref(), |object| write(row, object));
                let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let at = |path: &String| path.split('.').try_fold(&value, |value, name| value.get(name)).cloned();
                self.sort.iter().map(|path| at(path).unwrap_or_default()).collect()
            };
            let mut keyed: Vec<(Vec<Value>, T)> = rows.into_iter().map(|row| (key(&row), row)).collect();
            keyed.sort_by(|(a, _), (b, _)| {
                let different = a.iter().zip(b).map(|(a, b)| compare(a, b));
                different
                    .into_iter()
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            });
            rows = keyed.into_iter().map(|(_, row)| row).collect();
        }
        if self.sort_reverse {
            rows.reverse();
        }
        rows
    }
}

/// The stretches of time that history is asked of. Without one of the two parameters there is none, as in RabbitMQ.
fn ranges<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Ranges> {
    let mut ranges = Ranges::default();
    for (range, kind) in ranges.iter_mut().zip(Kind::ALL) {
        let seconds = |end: &str| get(&format!("{}_{end}", kind.prefix())).and_then(|text| text.parse::<i64>().ok());
        let (Some(age), Some(step)) = (seconds("age"), seconds("incr")) else {
            continue;
        };
        match (u64::try_from(age), u64::try_from(step)) {
            (Ok(age @ 1..), Ok(step @ 1..)) if age / step <= MOST_SAMPLES => *range = Some(Range { age, step }),
            _ => {
                let text = format!("Invalid range parameters: age {age}, incr {step}");
                return Err(Failure::BadRequest(text));
            }
        }
    }
    Ok(ranges)
}

fn columns(list: &str) -> Result<Option<Columns>> {
    Columns::parse(list).map_err(|deep| Failure::BadRequest(deep.to_string()))
}

/// A regular expression as RabbitMQ's parameters have it: over bytes, without regard to case. Its cost is bounded, but
/// milliseconds: not for the threads that serve clients.
///
/// # Errors
/// The fault in it.
pub fn pattern(text: &str) -> std::result::Result<Pattern, String> {
    Pattern::parse(&format!("(?i){text}"))
}

/// Erlang's order of terms, as far as JSON has them: numbers before names before objects; nothing comes first.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        Value::Bool(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
            a.total_cmp(&b)
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

impl Page {
    fn parse(number: &str, size: Option<&str>, name: &str, regex: bool) -> Result<Self> {
        let size = size.map_or(Ok(PAGE_SIZE), str::parse);
        let (Ok(number @ 1..), Ok(size @ 1..=PAGE_SIZE_MAX)) = (number.parse::<usize>(), size.clone()) else {
            let size = size.map_or_else(|_| "not a number".to_owned(), |size| size.to_string());
            return Err(Failure::Page {
                error: "invalid_pagination_parameters",
                reason: format!("Invalid pagination parameters: page number {number}, page size {size}"),
            });
        };
        let name = match (name, regex) {
            ("", _) => Filter::All,
            (name, false) => Filter::Contains(name.to_lowercase()),
            (name, true) => Filter::Matches(name.to_owned()),
        };
        Ok(Self { number, size, name })
    }

    fn of<'a, T>(&self, rows: &'a [T]) -> Result<&'a [T]> {
        let first = (self.number - 1).saturating_mul(self.size);
        let last = first.saturating_add(self.size).min(rows.len());
        match rows.get(first..last) {
            Some(rows) if first < last || self.number == 1 => Ok(rows),
            _ => Err(Failure::Page {
                error: "page_out_of_range",
                reason: format!(
                    "Page out of range, page: {} page size: {}, len: {}",
                    self.number,
                    self.size,
                    rows.len()
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROWS: [(&str, u64); 5] = [("a1", 5), ("a2", 3), ("B1", 4), ("b2", 1), ("c", 2)];

    fn list(parameters: &[(&str, &str)]) -> Result<Value> {
        let parameters = parameters.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let query = Query::parse(&parameters)?;
        let mut out = Pieces::whole();
        query.list(
            &mut out,
            ROWS.to_vec(),
            |row| row.0.into(),
            |row, object| {
                object.text("name", row.0);
                object.object("stats", |object| object.number("n", row.1));
            },
        )?;
        Ok(serde_json::from_slice(&out.into_rest()).expect("JSON"))
    }

    fn names(value: &Value) -> Vec<&str> {
        let rows = value.get("items").unwrap_or(value).as_array().expect("rows");
        rows.iter().filter_map(|row| row["name"].as_str()).collect()
    }

    #[test]
    fn without_a_page_all_rows_come_as_an_array() {
        let rows = list(&[("name", "a"), ("pagination", "true")]).expect("rows");
        assert_eq!(names(&rows), ["a1", "a2", "B1", "b2", "c"]);
    }

    #[test]
    fn a_page_is_an_object_with_seven_fields() {
        let page = list(&[("page", "2"), ("page_size", "2"), ("pagination", "false")]).expect("a page");
        assert_eq!(names(&page), ["B1", "b2"]);
        for (field, value) in [
            ("filtered_count", 5),
            ("item_count", 2),
            ("page", 2),
            ("page_count", 3),
            ("page_size", 2),
            ("total_count", 5),
        ] {
            assert_eq!(page[field], value, "{field}");
        }
    }

    #[test]
    fn names_are_filtered_by_part_or_pattern() {
        let page = list(&[("page", "1"), ("name", "b")]).expect("a page");
        assert_eq!(names(&page), ["B1", "b2"]);
        assert_eq!((&page["filtered_count"], &page["total_count"]), (&2.into(), &5.into()));
        let page = list(&[("page", "1"), ("name", "^.[12]$"), ("use_regex", "true")]).expect("a page");
        assert_eq!(names(&page), ["a1", "a2", "B1", "b2"]);
        let none = list(&[("page", "1"), ("name", "zzz")]).expect("a page");
        assert_eq!((names(&none).len(), &none["page_count"]), (0, &0.into()));
    }

    #[test]
    fn rows_are_sorted_by_a_column_within() {
        let rows = list(&[("sort", "stats.n"), ("columns", "name")]).expect("rows");
        assert_eq!(names(&rows), ["b2", "c", "a2", "B1", "a1"]);
        let rows = list(&[("sort", "stats.n"), ("sort_reverse", "true")]).expect("rows");
        assert_eq!(names(&rows), ["a1", "B1", "a2", "c", "b2"]);
        let rows = list(&[("sort", "nothing")]).expect("rows");
        assert_eq!(names(&rows), ["a1", "a2", "B1", "b2", "c"]);
    }

    #[test]
    fn impossible_pages_are_refused() {
        for (page, size, error) in [
            ("9", "2", "Page out of range, page: 9 page size: 2, len: 5"),
            ("0", "2", "Invalid pagination parameters: page number 0, page size 2"),
            (
                "1",
                "501",
                "Invalid pagination parameters: page number 1, page size 501",
            ),
            ("x", "2", "Invalid pagination parameters: page number x, page size 2"),
        ] {
            let refused = list(&[("page", page), ("page_size", size)]).expect_err("refused");
            assert_eq!(refused.to_string(), error);
        }
        let none = list(&[("page", "1"), ("name", "["), ("use_regex", "true")]).expect("a page");
        assert_eq!(none["filtered_count"], 0, "as in RabbitMQ");
        let (deep, many) = (["a"; 9].join("."), ["a"; 9].join(","));
        for query in [("columns", &deep), ("sort", &deep), ("sort", &many)] {
            assert!(
                matches!(list(&[(query.0, query.1)]), Err(Failure::BadRequest(_))),
                "{query:?}"
            );
        }
        assert!(list(&[("columns", &many), ("sort", &deep[..15])]).is_ok());
    }

    /// Texts that mean something in a query, and any others.
    fn text() -> impl Strategy<Value = String> {
        let meaning =
            "(name|stats|stats\\.n|a|B1|[0-9]{1,20}|true|false|\\^|\\$|\\(|\\)|\\*|\\+|,|\\.|-|%|(\\(\\?=)){0,6}";
        prop_oneof![meaning, any::<String>()]
    }

    proptest! {
        #[test]
        fn any_query_is_answered_or_refused(values in proptest::collection::vec(proptest::option::of(text()), 8)) {
            let names = ["page", "page_size", "name", "use_regex", "sort", "sort_reverse", "columns", "disable_stats"];
            let pairs: Vec<(&str, String)> = names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect();
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            match list(&pairs) {
                Ok(rows) => prop_assert!(rows.is_array() || rows["items"].is_array(), "{rows}"),
                Err(Failure::Page { .. } | Failure::BadRequest(_)) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
