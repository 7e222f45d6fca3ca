//! `leveret-operator check`: a page that must answer, for a probe from inside the cluster.
//!
//! In: a URL. Out: success once it answers 200. Does not know about what serves it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::task::{Run, once};
use super::values::up_to_an_hour;

/// Between two requests.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time for one answer.
const PROBE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// For example http://leveret-metrics.leveret.svc:8080/readyz
    #[arg(long, value_name = "URL")]
    url: String,
    /// Time to keep trying, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = up_to_an_hour)]
    timeout: Duration,
}

/// There was no such answer in time.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {why}")]
pub struct Error {
    url: String,
    why: String,
}

impl Run for CheckArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        once(check(&self.url, self.timeout))??;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks for a page until it answers 200, as a probe from inside the cluster does; there is no shell in the image.
///
/// # Errors
/// `url` is not like `http://host:port/path`, or there is no such answer within `timeout`: the last one is told.
async fn check(url: &str, timeout: Duration) -> Result<(), Error> {
    let wrong = |why: String| Error {
        url: url.to_owned(),
        why,
    };
    let rest = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
    let Some((host, path)) = rest.filter(|(host, _)| host.contains(':')) else {
        return Err(wrong("must be like http://host:port/path".to_owned()));
    };
    let deadline = Instant::now() + timeout;
    loop {
        let answer = tokio::time::timeout(PROBE, status_line(host, path)).await;
        let why = match answer {
            Ok(Ok(line)) if line.split(' ').nth(1) == Some("200") => return Ok(()),
            Ok(Ok(line)) => line,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {} s", PROBE.as_secs()),
        };
        if Instant::now() >= deadline {
            return Err(wrong(why));
        }
        sleep(PAUSE).await;
    }
}

async fn status_line(host: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(256).read_to_end(&mut head).await?;
    let text = String::from_utf8_lossy(&head);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
