//! A live broker by its address: for commands that look at it once.
//!
//! In: flags. Out: everything that stands on the broker. Does not know about resources or what is
//! wanted.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::broker::connect::Network;
use crate::broker::http::Listed;
use crate::broker::{Backlogs, Error};
use crate::object::{Connection, Via};
use crate::topology::Topology;

/// Address of the management API when none is given.
const DEFAULT_MANAGEMENT: &str = "http://127.0.0.1:15672";
/// User, and password, when none is given.
const DEFAULT_USER: &str = "guest";

#[derive(Clone, Debug, Default, Args)]
pub struct LiveArgs {
    /// The broker's management API; default: http://127.0.0.1:15672
    #[arg(long, value_name = "URI", env = "LEVERET_MANAGEMENT")]
    pub management: Option<String>,

    /// User of the management API; default: guest
    #[arg(long, value_name = "NAME", env = "LEVERET_USER")]
    pub user: Option<String>,

    /// Its password; default: guest. Others may see flags: prefer --password-file or the environment
    #[arg(long, value_name = "TEXT", env = "LEVERET_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,

    /// File with the password in its first line
    #[arg(
        long,
        value_name = "FILE",
        env = "LEVERET_PASSWORD_FILE",
        conflicts_with = "password"
    )]
    pub password_file: Option<PathBuf>,

    /// PEM file with certificates to trust in addition to the system's
    #[arg(long, value_name = "FILE", env = "LEVERET_CA")]
    pub ca: Option<PathBuf>,
}

/// A file that a flag names cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct FileError {
    path: PathBuf,
    error: std::io::Error,
}

impl LiveArgs {
    /// The user of the management API.
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(DEFAULT_USER)
    }

    /// Puts what the flags say in the place of what is in `connection`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn replace(&self, connection: &mut Connection) -> Result<(), FileError> {
        let failed = |path: &PathBuf| {
            let path = path.clone();
            |error| FileError { path, error }
        };
        if let Some(uri) = &self.management {
            connection.management_uri.clone_from(uri);
        }
        if let Some(user) = &self.user {
            connection.user.clone_from(user);
        }
        if let Some(password) = &self.password {
            connection.password.clone_from(password);
        }
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map_err(failed(path))?;
            text.lines()
                .next()
                .unwrap_or_default()
                .clone_into(&mut connection.password);
        }
        if let Some(path) = &self.ca {
            connection.ca = Some(std::fs::read(path).map_err(failed(path))?);
        }
        Ok(())
    }

    /// The connection that the flags alone describe.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn connection(&self) -> Result<Connection, FileError> {
        let mut connection = Connection {
            amqp_uri: String::new(),
            management_uri: DEFAULT_MANAGEMENT.to_owned(),
            user: DEFAULT_USER.to_owned(),
            password: DEFAULT_USER.to_owned(),
            ca: None,
            identity: None,
            via: Via::Address,
        };
        self.replace(&mut connection)?;
        Ok(connection)
    }
}

/// Everything on a broker, as it stood at one time.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Product and version.
    pub version: String,
    pub topology: Topology,
    pub backlogs: Backlogs,
    /// `None` when the user may not list them.
    pub vhosts: Option<BTreeSet<String>>,
}

/// Looks at a broker.
///
/// # Errors
/// The broker can't be reached or refuses, or its answer is more than may be read.
pub async fn look(connection: &Connection) -> Result<Live, Error> {
    let management = Network::default().management(connection)?;
    let (about, listed) = tokio::try_join!(management.about(), management.list())?;
    let Listed { topology, backlogs, .. } = listed;
    let vhosts: BTreeSet<String> = topology.vhosts.keys().map(|vhost| vhost.name.clone()).collect();
    Ok(Live {
        version: about.version,
        topology,
        backlogs,
        vhosts: (!vhosts.is_empty()).then_some(vhosts),
    })
}
