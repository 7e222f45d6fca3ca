//! Definitions that a start loads, before anybody is served.
//!
//! Comes in: a file, or a folder of files. Goes out: what they have, durable; or one line that names files and entries.
//! With `skip_if_unchanged` files that are as at the last time cost a look, and bring nothing back that was deleted
//! since: their mark is kept in the log, where RabbitMQ keeps it, after all that they have.

use super::document::Document;
use super::import::{Documents, import};
use crate::access::Actor;
use crate::access::actor::INTERNAL_USER;
use crate::access::permissions::Permissions;
use crate::access::user::Tags;
use crate::admin::body;
use crate::config::Definitions;
use crate::files;
use crate::node::Node;
use crate::parameters::{IMPORTED, Key};
use anyhow::{Context, anyhow};
use ring::digest::{self, SHA256};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

/// Loads definitions.
///
/// # Errors
/// One line with the files and entries that can't be: then nothing has changed.
pub async fn load(node: &Arc<Node>, definitions: &Definitions) -> anyhow::Result<()> {
    let place = definitions.path.clone();
    let failed = || format!("cannot load the definitions of {}", place.display());
    let (path, most) = (definitions.path.clone(), definitions.max_bytes);
    let read = tokio::task::spawn_blocking(move || read(&path, most));
    let files = read.await?.with_context(failed)?;
    let mark = Value::from(mark(&files)).to_string();
    let key = Key::global(IMPORTED);
    if definitions.skip_if_unchanged && node.parameters.get(&key).as_deref() == Some(&mark) {
        info!(path = %place.display(), "the definitions are as they were when they were loaded: they are passed over");
        return Ok(());
    }
    let most = body::definitions(most);
    let parsed: anyhow::Result<Documents> = files.into_iter().map(|file| parse(file, most)).collect();
    let documents = parsed.with_context(failed)?;
    let count = documents.len();
    let actor = Actor::new(INTERNAL_USER, Permissions::ALL).with_tags(Tags::administrator());
    let imported = import(node, documents, actor, None).await;
    imported
        .map_err(|failure| anyhow!(one_line(&failure.to_string())))
        .with_context(failed)?;
    if definitions.skip_if_unchanged {
        node.wait_durable(Some(node.parameters.put(key, &mark)?.lsn)).await;
    }
    if node.access.names().is_empty() {
        warn!("the definitions have no user: nobody can log in");
    }
    info!(path = %place.display(), files = count, "the definitions are loaded");
    Ok(())
}

/// A file with its path.
type Read = (PathBuf, Vec<u8>);

/// The file of this path, or those of the folder, by name. What begins with a dot is left out, as is what is no file:
/// Kubernetes has such things where it mounts a ConfigMap.
fn read(path: &Path, most: u64) -> anyhow::Result<Vec<Read>> {
    if !path.is_dir() {
        return Ok(vec![read_file(path.to_owned(), most)?]);
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| read_file(path, most)).collect()
}

fn read_file(path: PathBuf, most: u64) -> anyhow::Result<Read> {
    let bytes = files::read(&path, most).with_context(|| path.display().to_string())?;
    Ok((path, bytes))
}

fn parse((path, bytes): Read, most: usize) -> anyhow::Result<(Option<String>, Document)> {
    let file = path.display().to_string();
    let document = Document::parse(&bytes, most).map_err(|failure| anyhow!("{file}: {failure}"))?;
    Ok((Some(file), document))
}

/// The mark of files: another one where any of them has changed, whatever it is called.
fn mark(files: &[Read]) -> String {
    let mut context = digest::Context::new(&SHA256);
    for (_, bytes) in files {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    }
    let hash = context.finish();
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_by_name_and_without_what_kubernetes_keeps_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        write("b.json", "2");
        write("a.json", "1");
        write(".hidden", "3");
        std::fs::create_dir(folder.path().join("..data")).expect("a folder");
        std::fs::create_dir(folder.path().join("more")).expect("a folder");
        let files = read(folder.path(), 100).expect("files");
        let texts: Vec<&[u8]> = files.iter().map(|(_, bytes)| &bytes[..]).collect();
        assert_eq!(texts, [b"1", b"2"]);
        let before = mark(&files);
        write("b.json", "22");
        assert_ne!(mark(&read(folder.path(), 100).expect("files")), before);
        let fault = read(&folder.path().join("b.json"), 1).expect_err("too large");
        assert!(
            format!("{fault:#}").ends_with("b.json: larger than 1 bytes"),
            "{fault:#}"
        );
        assert!(read(&folder.path().join("nothing"), 1).is_err());
    }

    #[test]
    fn marks_tell_files_apart() {
        let files = |texts: &[&str]| -> Vec<Read> {
            let file = |text: &&str| (PathBuf::new(), text.as_bytes().to_vec());
            texts.iter().map(file).collect()
        };
        assert_eq!(mark(&files(&["a"])).len(), 64);
        assert_ne!(mark(&files(&["ab", "c"])), mark(&files(&["a", "bc"])));
    }
}
