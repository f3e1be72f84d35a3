//! The key that seals endpoints' secrets: given, or kept in the data folder.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use schemas::{ambient::Random, seal::Sealer, secret::Secret};
use tracing::info;

use crate::{config::ServeArgs, error::Error};

const FILE: &str = "endpoint.key";

/// The cipher of endpoints' secrets.
pub(crate) fn sealer(args: &ServeArgs, random: &Random) -> Result<Sealer, Error> {
    let given: Vec<Secret> = args.endpoint_key.iter().filter(|key| !key.expose().is_empty()).cloned().collect();
    let keys = if given.is_empty() { vec![kept(&args.data.data_dir, random)?] } else { given };
    vault::seal::sealer(&keys, random).map_err(Error::EndpointKey)
}

/// The key of the data folder, made at the first start. Of two processes that start at once both use the one's.
fn kept(folder: &Path, random: &Random) -> Result<Secret, Error> {
    let path = folder.join(FILE);
    let failed = |source| Error::DataDir { path: path.clone(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    if !path.exists() {
        let draft = folder.join(random.id("endpoint.key."));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        let key = vault::seal::new_key(random);
        file.write_all(key.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        let made = fs::hard_link(&draft, &path);
        fs::remove_file(&draft).map_err(failed)?;
        match made {
            Ok(()) => info!(path = %path.display(), "endpoint.key: made; without it endpoints' secrets cannot be read"),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    fs::read_to_string(&path).map(|key| Secret::new(key.trim())).map_err(failed)
}
