//! The part of source-controller for a GitRepository: commits become archives, and its status says where.
//!
//! In: the test's repository. Out: archives over HTTP, named with their digest in the status of a GitRepository object.
//! Does not know about who fetches them.

use std::net::SocketAddr;
use std::process::Command;

use harness::http::Http;
use harness::kubectl::run;
use harness::operator_process::free_address;
use harness::process::Process;
use harness::wait::until;
use serde_json::json;

use crate::way::{SOON, Way};

/// Serves archives.
pub(super) struct Source {
    server: Process,
    listen: SocketAddr,
}

impl Source {
    pub(super) fn start() -> Source {
        let listen = free_address();
        let server = Process::start("server", |home| {
            let mut command = Command::new("python3");
            command
                .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
                .arg(home)
                .arg(listen.port().to_string());
            command
        });
        let answers = || Http::anonymous(listen).try_request("GET", "/", None);
        until("archives are served", SOON, || answers().is_ok());
        Source { server, listen }
    }

    /// Makes the newest commit the artifact of the GitRepository `name`; its revision.
    pub(super) fn publish(&self, way: &Way, name: &str) -> String {
        let commit = way.repository.git(&["rev-parse", "HEAD"]);
        let file = format!("{commit}.tar.gz");
        let path = self.server.home().join(&file).display().to_string();
        way.repository
            .git(&["archive", "--format=tar.gz", &format!("--output={path}"), "HEAD"]);
        let sum = run(Command::new("sha256sum").arg(&path), "");
        assert!(sum.well, "{}", sum.all);
        let digest = sum.stdout.split(' ').next().expect("a digest");
        let revision = format!("main@sha1:{commit}");
        let written = way.repository.git(&["log", "-1", "--date=iso-strict", "--format=%cd"]);
        let artifact = json!({"revision": revision, "digest": format!("sha256:{digest}"), "path": file,
            "url": format!("http://{}/{file}", self.listen), "lastUpdateTime": written});
        let patch = json!({"status": {"artifact": artifact}}).to_string();
        let object = format!("gitrepositories.source.toolkit.fluxcd.io/{name}");
        way.kubectl(&["patch", &object, "--subresource=status", "--type=merge", "-p", &patch]);
        revision
    }
}
