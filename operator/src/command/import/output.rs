//! What has been imported, on its way to files or a pipe.
//!
//! In: manifests. Out: YAML. Does not know about where they come from.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::object::Kind;
use crate::resource::yaml;

/// Manifests of what was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Import {
    pub manifests: Vec<(Kind, Value)>,
    /// Everything that no manifest says: a line for each, with its place and what to do.
    pub left_out: Vec<String>,
    /// Objects that are none of this: a line for each.
    pub alone: Vec<String>,
}

impl Import {
    /// A stream of YAML documents, the same to every reader.
    pub fn yaml(&self) -> String {
        self.manifests
            .iter()
            .map(|(_, manifest)| yaml::document(manifest))
            .collect()
    }

    /// Writes a file for each kind.
    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let kinds: Vec<Kind> = Kind::OWN
            .into_iter()
            .filter(|kind| self.manifests.iter().any(|(other, _)| other == kind))
            .collect();
        let file = |kind: &Kind| folder.join(format!("{}.yaml", kind.plural()));
        if let Some(there) = kinds.iter().map(file).find(|path| path.exists()) {
            anyhow::bail!("{} is there already: nothing is written", there.display());
        }
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for kind in &kinds {
            let path = file(kind);
            let of_a_kind = self.manifests.iter().filter(|(other, _)| other == kind);
            let text: String = of_a_kind.map(|(_, manifest)| yaml::document(manifest)).collect();
            let created = fs::File::create_new(&path);
            created
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}
