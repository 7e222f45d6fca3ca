//! Compression of answers, for whoever accepts it (RFC 9110, 8.4.1): lists and metrics are ten times shorter so.
//!
//! Comes in: pieces of an answer. Goes out: pieces of gzip. Does not know what is in them.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// Shorter answers are not worth it, bytes (what RabbitMQ's HTTP server finds).
const SHORTEST: usize = 300;
/// Memory of one that is under way, bytes.
pub const MEMORY: u64 = 512 << 10;

/// True if a client accepts gzip.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let given = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    given.flat_map(|list| list.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = |weight: &str| weight.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        is_gzip && !parts.any(refused)
    })
}

/// An answer that is compressed, or not.
pub struct Zip(Option<GzEncoder<Vec<u8>>>);

impl Zip {
    /// Compression if it is accepted: the fastest, for pieces are written while somebody waits.
    pub fn new(accepted: bool) -> Self {
        Self(accepted.then(|| GzEncoder::new(Vec::new(), Compression::fast())))
    }

    /// True if what goes out is compressed.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The next piece; what goes out of it, once that is something.
    pub fn piece(&mut self, piece: Vec<u8>) -> Option<Vec<u8>> {
        let Some(encoder) = &mut self.0 else { return Some(piece) };
        // Writing to memory doesn't fail.
        let _ = encoder.write_all(&piece);
        Some(std::mem::take(encoder.get_mut())).filter(|out| !out.is_empty())
    }

    /// The last piece; of an answer that is short it may be the only one.
    pub fn end(&mut self, rest: Vec<u8>, is_all: bool) -> Vec<u8> {
        if is_all && rest.len() < SHORTEST {
            self.0 = None;
        }
        let Some(encoder) = &mut self.0 else { return rest };
        let _ = encoder.write_all(&rest);
        let _ = encoder.try_finish();
        std::mem::take(encoder.get_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn pieces_come_out_as_they_went_in() {
        let mut zip = Zip::new(true);
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|number| number.to_string().into_bytes())
            .collect();
        let mut out = Vec::new();
        let (last, before) = text
            .chunks(60_000)
            .collect::<Vec<_>>()
            .split_last()
            .map(|(l, b)| (*l, b.to_vec()))
            .expect("some");
        for piece in before {
            out.extend(zip.piece(piece.to_vec()).unwrap_or_default());
        }
        out.extend(zip.end(last.to_vec(), false));
        assert!(zip.is_on() && out.len() < text.len() / 2);
        let mut back = Vec::new();
        GzDecoder::new(&*out).read_to_end(&mut back).expect("gzip");
        assert_eq!(back, text);
    }

    #[test]
    fn what_is_short_or_not_accepted_stays_as_it_is() {
        let mut short = Zip::new(true);
        assert_eq!(
            (short.end(b"short".to_vec(), true), short.is_on()),
            (b"short".to_vec(), false)
        );
        let mut plain = Zip::new(false);
        let long = vec![b'x'; 1000];
        assert_eq!(plain.piece(long.clone()), Some(long.clone()));
        assert_eq!((plain.end(long.clone(), false), plain.is_on()), (long, false));
    }

    #[test]
    fn clients_say_whether_they_accept_it() {
        let accepted = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            is_accepted(&headers)
        };
        for yes in ["gzip", "deflate, GZIP;q=0.5", "gzip, deflate, br"] {
            assert!(accepted(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "br, gzip; q=0.0", "x-gzip"] {
            assert!(!accepted(no), "{no}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }
}
